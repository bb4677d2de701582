// A table that shows what the server has, a page at a time: however many there are, it holds no more than one page.

import { element, make, setText } from "./element.js";
import { sayProblem } from "./said.js";
import { count } from "./words.js";

const SIZES = [25, 100, 500];
const TRIES = 20; // pages that may have nothing before somebody is asked whether to go on

/**
 * A column: `name`, `text` of an item, and what it is sorted by (`order`, else its text).
 *
 * `fill(cell, item)` puts in more than text; it is called again where the text has changed.
 */
export class Listing {
  selected = new Map();
  total = null;
  #rows = new Map();
  #pages = [{ cursor: "", from: 0 }]; // those before this one, and it
  #next = null;
  #size = 100;
  #loading = null;

  /** `fetchPage(query, signal)` returns {items, total, cursor}; `key` is what tells items apart. */
  constructor(place, { name, key, columns, sortBy, fetchPage, onSelect }) {
    Object.assign(this, { name, key, columns, fetchPage, onSelect });
    this.sort = { column: columns.find((column) => column.name === sortBy), down: true };
    this.status = make("p", { className: "status", role: "status" });
    this.body = make("tbody", { role: "rowgroup" });
    this.empty = make("p", { className: "empty soft", hidden: true }, "None.");
    place.append(this.#tools(), make("div", { className: "scroll" }, this.#table(), this.empty), this.#pager());
    this.#showSort();
  }

  // --- its parts ---

  #tools() {
    const tools = make("div", { className: "tools" }, this.status);
    if (this.onSelect) {
      this.tick = make("input", { type: "checkbox", onchange: () => this.#selectPage(this.tick.checked) });
      tools.append(make("label", { className: "tick" }, this.tick, " Select this page"));
    }
    this.order = this.#choice("Sort by", this.columns.filter(({ name }) => name).flatMap(({ name }) => [`${name}, down`, `${name}, up`]));
    this.order.onchange = () => this.#sortBy(...this.order.value.split(", "));
    this.order.parentElement.classList.add("narrow");
    this.size = this.#choice("Show", SIZES);
    this.size.value = this.#size;
    this.size.onchange = () => { this.#size = Number(this.size.value); this.first(); };
    tools.append(this.order.parentElement, this.size.parentElement);
    return tools;
  }

  #choice(label, values) {
    const select = make("select", { "aria-label": label }, ...values.map((value) => make("option", { value }, String(value))));
    make("label", { className: "choice" }, `${label} `, select);
    return select;
  }

  #table() {
    const heads = this.columns.map((column) => {
      const head = make("th", { scope: "col", role: "columnheader", className: column.className === "number" ? "number" : "" });
      if (!column.name) head.append(make("span", { className: "unseen" }, column.says));
      else head.append(make("button", { type: "button", onclick: () => this.#sortBy(column.name) }, column.name));
      column.head = head;
      return head;
    });
    if (this.onSelect) heads.unshift(make("th", { scope: "col", role: "columnheader" }, make("span", { className: "unseen" }, "Select")));
    const head = make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads));
    // The roles are those that the elements have anyway, but lose where a narrow page shows rows as blocks.
    return make("table", { role: "table", "aria-label": this.name }, head, this.body);
  }

  #pager() {
    const button = (text, onclick) => make("button", { type: "button", className: "quiet", onclick }, text);
    this.previousButton = button("Previous", () => this.#go(() => this.#pages.pop()));
    this.nextButton = button("Next", () => this.#go(() => this.#pages.push({ cursor: this.#next, from: this.#page.from + this.#rows.size })));
    this.firstButton = button("First", () => this.first());
    return make("nav", { className: "pager", "aria-label": `Pages of ${this.name}` }, this.firstButton, this.previousButton, this.nextButton);
  }

  // --- pages ---

  get #page() {
    return this.#pages.at(-1);
  }

  /** Begin at the first page. */
  first() {
    return this.#go(() => { this.#pages.length = 1; });
  }

  #go(turn) {
    turn();
    return this.load({ anew: true });
  }

  /** Get this page again; `anew`: it is another one, so that rows need not keep their places. */
  async load({ anew = false } = {}) {
    if (this.#loading && !anew) return;
    this.#loading?.abort();
    const loading = this.#loading = new AbortController();
    if (anew) setText(this.status, "Looking …");
    try {
      const page = await this.#find(loading.signal);
      if (loading === this.#loading) this.#show(page, anew);
    } catch (error) {
      if (loading === this.#loading && error.name !== "AbortError") {
        setText(this.status, error.message);
        if (anew) sayProblem(error);
      }
    } finally {
      if (loading === this.#loading) this.#loading = null;
    }
  }

  /** A page may have nothing and still not be the last: some conditions are met by one in many. */
  async #find(signal) {
    const here = this.#page;
    let [page, cursor] = [null, here.cursor];
    for (let tries = 0; tries < TRIES; tries++) {
      page = await this.fetchPage({ cursor, limit: this.#size }, signal);
      if (page.items.length) here.cursor = cursor; // where nothing is need not be looked at again
      if (page.items.length || page.cursor === null) return page;
      cursor = page.cursor;
    }
    return page;
  }

  #show({ items, total, cursor }, anew) {
    this.total = total;
    this.#next = cursor;
    const keys = new Set(items.map((item) => this.key(item)));
    for (const [key, row] of this.#rows) if (!keys.has(key)) this.#drop(key, row);
    for (const item of items) this.#put(item);
    this.#arrange(anew);
    setText(this.status, this.#position(items.length));
    this.empty.hidden = items.length > 0;
    setText(this.empty, cursor ? "None so far; the next page goes on." : "None.");
    this.firstButton.disabled = this.previousButton.disabled = this.#pages.length === 1;
    this.nextButton.disabled = cursor === null;
    this.#selectionChanged();
  }

  #position(shown) {
    const { from } = this.#page;
    const some = shown ? `${count(from + 1)} to ${count(from + shown)}` : "none";
    if (this.total === null) return `${this.name}: ${some}${this.#next ? ", and perhaps more" : ""}`;
    if (shown === this.total) return `${this.name}: ${count(this.total)}`;
    return `${this.name}: ${some} of ${count(this.total)}`;
  }

  // --- rows ---

  #put(item) {
    const key = this.key(item);
    const row = this.#rows.get(key) ?? this.#add(key, item);
    row.item = item;
    if (this.selected.has(key)) this.selected.set(key, item);
    this.#fill(row);
  }

  #add(key, item) {
    const cells = this.columns.map(({ name, className = "" }) => make("td", { role: "cell", className, "data-name": name ?? "" }));
    const row = { cells, line: make("tr", { role: "row" }), item, texts: [] };
    if (this.onSelect) {
      row.tick = make("input", { type: "checkbox", checked: this.selected.has(key), onchange: () => this.#select(key, row.tick.checked) });
      row.line.append(make("td", { role: "cell", className: "tick" }, row.tick));
    }
    row.line.append(...cells);
    this.#rows.set(key, row);
    return row;
  }

  #fill(row) {
    this.columns.forEach(({ text, fill }, index) => {
      const shown = text(row.item);
      if (row.texts[index] === shown) return;
      row.texts[index] = shown;
      if (fill) { row.cells[index].replaceChildren(); fill(row.cells[index], row.item); }
      else setText(row.cells[index], shown);
    });
    row.tick?.setAttribute("aria-label", `Select ${row.texts[0]}, ${this.key(row.item)}`);
  }

  #drop(key, row) {
    row.line.remove();
    this.#rows.delete(key);
  }

  /** Say times anew. */
  sayTimes() {
    for (const row of this.#rows.values()) if (!row.gone) this.#fill(row);
  }

  /** Change an item that is shown; nothing where it is not. */
  change(key, alter) {
    const row = this.#rows.get(key);
    if (!row || row.gone) return;
    alter(row.item);
    this.#fill(row);
  }

  /** Show that one is no more; its row stays until the page is asked for again, so that nothing moves under the pointer. */
  gone(key, why) {
    if (this.selected.delete(key)) this.#selectionChanged();
    const row = this.#rows.get(key);
    if (!row || row.gone) return;
    row.gone = true;
    row.line.classList.add("gone");
    for (const control of row.line.querySelectorAll("button, input")) control.disabled = true;
    setText(row.cells.at(-1), why);
  }

  get shown() {
    return this.#rows.size;
  }

  // --- order ---

  #sortBy(name, way) {
    const column = this.columns.find((each) => each.name === name);
    const down = way ? way === "down" : this.sort.column === column ? !this.sort.down : column.order !== undefined;
    this.sort = { column, down };
    this.#showSort();
    this.#arrange(true);
  }

  #showSort() {
    for (const column of this.columns) {
      if (column === this.sort.column) column.head.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
      else column.head.removeAttribute("aria-sort");
    }
    this.order.value = `${this.sort.column.name}, ${this.sort.down ? "down" : "up"}`;
  }

  /** Put rows in order. Those that somebody points at keep their places, unless it was asked for. */
  #arrange(asked) {
    const rows = [...this.#rows.values()];
    if (!asked && this.body.matches(":hover, :focus-within")) {
      this.body.append(...rows.filter(({ line }) => !line.isConnected).map(({ line }) => line));
      return;
    }
    const { column: { order, text }, down } = this.sort;
    const value = order ?? ((item) => text(item).toLowerCase());
    const sign = down ? -1 : 1;
    const sorted = rows.map((row) => [value(row.item), row.line]).sort(([a], [b]) => (a < b ? -sign : a > b ? sign : 0));
    sorted.forEach(([, line], index) => { if (this.body.children[index] !== line) this.body.insertBefore(line, this.body.children[index] ?? null); });
  }

  // --- what is selected ---

  #select(key, chosen) {
    if (chosen) this.selected.set(key, this.#rows.get(key).item);
    else this.selected.delete(key);
    this.#selectionChanged();
  }

  #selectPage(chosen) {
    for (const [key, row] of this.#rows) {
      if (row.gone) continue;
      row.tick.checked = chosen;
      if (chosen) this.selected.set(key, row.item);
      else this.selected.delete(key);
    }
    this.#selectionChanged();
  }

  deselect() {
    this.selected.clear();
    for (const { tick } of this.#rows.values()) tick.checked = false;
    this.#selectionChanged();
  }

  #selectionChanged() {
    if (!this.onSelect) return;
    const here = [...this.#rows.keys()].filter((key) => this.selected.has(key)).length;
    this.tick.checked = here > 0 && here === this.#rows.size;
    this.tick.indeterminate = here > 0 && here < this.#rows.size;
    this.onSelect(this.selected);
  }
}
