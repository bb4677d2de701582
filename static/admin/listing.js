// A table that shows what the server has, a page at a time: however many there are, it holds no more than one page.

import { make, setText } from "./element.js";
import { Row } from "./row.js";
import { sayProblem } from "./said.js";
import { count } from "./words.js";

const SIZES = [25, 100, 500];
const TRIES = 20; // pages that may have nothing before somebody is asked whether to go on

/**
 * A column: `name`, `text` of an item, and what it is sorted by (`order`, else its text).
 *
 * `fill(cell, item)` puts in more than text; it is called again where the text has changed. `isAct` is a column of
 * buttons: it has no head to look at, and nothing is sorted by it.
 */
export class Listing {
  selected = new Set(); // keys, of all pages
  total = null;
  #rows = new Map();
  #heads = new Map();
  #pages = [{ cursor: "", from: 0 }]; // those before this one, and it
  #next = null;
  #loading = null;

  /**
   * `fetchPage(query, signal)` returns {items, total, cursor}; `key` is what tells items apart.
   *
   * `onChange` is called when another page is shown or selected; without it, nothing can be selected.
   */
  constructor(place, { name, key, columns, sortBy, fetchPage, onChange }) {
    Object.assign(this, { name, key, columns, fetchPage, onChange });
    this.sort = { column: this.#column(sortBy), down: true };
    this.status = make("p", { className: "status", role: "status" });
    this.body = make("tbody", { role: "rowgroup" });
    this.empty = make("p", { className: "empty soft", hidden: true });
    place.append(this.#tools(), make("div", { className: "scroll" }, this.#table(), this.empty), this.#pager());
    this.#showSort();
  }

  #column(name) {
    return this.columns.find((column) => column.name === name);
  }

  // --- its parts ---

  #tools() {
    const tools = make("div", { className: "tools" }, this.status);
    if (this.onChange) {
      this.tick = make("input", { type: "checkbox", onchange: () => this.#selectPage(this.tick.checked) });
      tools.append(make("label", { className: "tick" }, this.tick, " Select this page"));
    }
    const sorted = this.columns.filter(({ isAct }) => !isAct);
    this.order = choice("Sort by", sorted.flatMap(({ name }) => [`${name}, down`, `${name}, up`]));
    this.order.onchange = () => this.#sortBy(...this.order.value.split(", "));
    this.size = choice("Show", SIZES);
    this.size.value = 100;
    this.size.onchange = () => this.first();
    const [order, size] = [this.order, this.size].map((select) => select.parentElement);
    order.classList.add("narrow"); // where the heads of the columns are not shown
    tools.append(order, size);
    return tools;
  }

  #table() {
    const heads = this.columns.map((column) => this.#head(column));
    if (this.onChange) heads.unshift(unseenHead("Select"));
    // The roles are those that the elements have anyway, but lose where a narrow page shows rows as blocks.
    const head = make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads));
    return make("table", { role: "table", "aria-label": this.name }, head, this.body);
  }

  #head({ name, isAct, className }) {
    if (isAct) return unseenHead(name);
    const button = make("button", { type: "button", onclick: () => this.#sortBy(name) }, name);
    const head = make("th", { scope: "col", role: "columnheader" }, button);
    head.classList.toggle("number", className === "number");
    this.#heads.set(name, head);
    return head;
  }

  #pager() {
    const button = (text, onclick) => make("button", { type: "button", className: "quiet", onclick }, text);
    this.firstButton = button("First", () => this.first());
    this.previousButton = button("Previous", () => this.#go(() => this.#pages.pop()));
    this.nextButton = button("Next", () => this.#go(() => this.#pages.push(this.#following)));
    this.hint = make("p", { className: "soft", hidden: true }, "Columns sort the page that is shown.");
    return make(
      "nav", { className: "pager", "aria-label": `Pages of ${this.name}` },
      this.firstButton, this.previousButton, this.nextButton, this.hint,
    );
  }

  // --- pages ---

  get #page() {
    return this.#pages.at(-1);
  }

  get #following() {
    return { cursor: this.#next, from: this.#page.from + this.#rows.size };
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
      if (loading === this.#loading) this.#failed(error, anew);
    } finally {
      if (loading === this.#loading) this.#loading = null;
    }
  }

  /** A page may have nothing and still not be the last: some conditions are met by one in many. */
  async #find(signal) {
    let page = { cursor: this.#page.cursor };
    for (let tries = 0; tries < TRIES; tries++) {
      page = await this.fetchPage({ cursor: page.cursor, limit: this.size.value }, signal);
      if (page.items.length || page.cursor === null) break;
    }
    return page;
  }

  #failed(error, anew) {
    setText(this.status, error.message);
    if (anew) sayProblem(error);
  }

  #show({ items, total, cursor }, anew) {
    this.total = total;
    this.#next = cursor;
    this.#put(items);
    this.#arrange(anew);
    const [isFirst, isLast] = [this.#pages.length === 1, cursor === null];
    setText(this.status, this.#position(items.length));
    this.empty.hidden = items.length > 0;
    setText(this.empty, isLast ? "None." : "None so far; the next page goes on.");
    this.firstButton.disabled = this.previousButton.disabled = isFirst;
    this.nextButton.disabled = isLast;
    this.hint.hidden = isFirst && isLast;
    this.#changed();
  }

  #position(shown) {
    const { from } = this.#page;
    const some = shown ? `${count(from + 1)} to ${count(from + shown)}` : "none";
    if (this.total === null) return `${this.name}: ${some}${this.#next ? ", and perhaps more" : ""}`;
    if (shown === this.total) return `${this.name}: ${count(this.total)}`;
    return `${this.name}: ${some} of ${count(this.total)}`;
  }

  // --- rows ---

  #put(items) {
    const keys = new Set(items.map(this.key));
    for (const key of this.#rows.keys()) if (!keys.has(key)) this.#drop(key);
    for (const item of items) {
      const key = this.key(item);
      if (!this.#rows.has(key)) this.#rows.set(key, this.#row(key));
      this.#rows.get(key).show(item, key);
    }
  }

  #row(key) {
    if (!this.onChange) return new Row(this.columns);
    const onTick = (isTicked) => this.#select(key, isTicked);
    return new Row(this.columns, { onTick, isTicked: this.selected.has(key) });
  }

  #drop(key) {
    this.#rows.get(key).line.remove();
    this.#rows.delete(key);
  }

  /** Say times anew. */
  sayTimes() {
    for (const row of this.#rows.values()) row.again();
  }

  /** Change an item that is shown; nothing where it is not. */
  change(key, alter) {
    const row = this.#rows.get(key);
    if (!row) return;
    alter(row.item);
    row.again();
  }

  /** One is no more; its row stays until the page is asked for again, so that nothing moves under the pointer. */
  gone(key, why) {
    const wasSelected = this.selected.delete(key);
    const row = this.#rows.get(key);
    if (row && !row.isGone) row.strike(why);
    if (wasSelected) this.#changed();
  }

  // --- order ---

  #sortBy(name, way) {
    const column = this.#column(name);
    const isSame = column === this.sort.column;
    const down = way ? way === "down" : isSame ? !this.sort.down : column.order !== undefined;
    this.sort = { column, down };
    this.#showSort();
    this.#arrange(true);
  }

  #showSort() {
    const { column: { name }, down } = this.sort;
    for (const head of this.#heads.values()) head.removeAttribute("aria-sort");
    this.#heads.get(name).setAttribute("aria-sort", down ? "descending" : "ascending");
    this.order.value = `${name}, ${down ? "down" : "up"}`;
  }

  /** Put rows in order. Those that somebody points at keep their places, unless it was asked for. */
  #arrange(asked) {
    const isHeld = !asked && this.body.matches(":hover, :focus-within");
    const lines = this.#sorted();
    if (isHeld) this.body.append(...lines.filter((line) => !line.isConnected));
    else lines.forEach((line, index) => this.#place(line, this.body.children[index] ?? null));
  }

  #place(line, before) {
    if (line !== before) this.body.insertBefore(line, before);
  }

  #sorted() {
    const { column: { order, text }, down } = this.sort;
    const value = order ?? ((item) => text(item).toLowerCase());
    const sign = down ? -1 : 1;
    const valued = [...this.#rows.values()].map(({ item, line }) => ({ value: value(item), line }));
    valued.sort(({ value: a }, { value: b }) => (a < b ? -sign : a > b ? sign : 0));
    return valued.map(({ line }) => line);
  }

  // --- what is selected ---

  #select(key, isTicked) {
    this.#mark(key, isTicked);
    this.#changed();
  }

  #selectPage(isTicked) {
    for (const [key, row] of this.#rows) {
      if (row.isGone) continue;
      row.tick.checked = isTicked;
      this.#mark(key, isTicked);
    }
    this.#changed();
  }

  #mark(key, isTicked) {
    if (isTicked) this.selected.add(key);
    else this.selected.delete(key);
  }

  deselect() {
    this.selected.clear();
    for (const { tick } of this.#rows.values()) tick.checked = false;
    this.#changed();
  }

  #changed() {
    if (!this.onChange) return;
    const here = [...this.#rows.keys()].filter((key) => this.selected.has(key)).length;
    this.tick.checked = here > 0 && here === this.#rows.size;
    this.tick.indeterminate = here > 0 && here < this.#rows.size;
    this.onChange();
  }
}

function choice(label, values) {
  const options = values.map((value) => make("option", { value }, String(value)));
  const select = make("select", { "aria-label": label }, ...options);
  make("label", { className: "choice" }, `${label} `, select);
  return select;
}

function unseenHead(name) {
  return make("th", { scope: "col", role: "columnheader" }, make("span", { className: "unseen" }, name));
}
