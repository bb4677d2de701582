// One row of a listing, of which only that is changed which says something else.

import { make, setText } from "./element.js";

export class Row {
  isGone = false;
  #columns;
  #cells;
  #texts = [];

  /** Where rows can be selected, `onTick` gets whether this one is. */
  constructor(columns, { onTick, isTicked } = {}) {
    this.#columns = columns;
    this.#cells = columns.map(({ name, isAct, className = "" }) => make(
      "td", { role: "cell", className, "data-name": isAct ? "" : name },
    ));
    this.line = make("tr", { role: "row" }, ...this.#cells);
    if (!onTick) return;
    this.tick = make("input", { type: "checkbox", checked: isTicked, onchange: () => onTick(this.tick.checked) });
    this.line.prepend(make("td", { role: "cell", className: "tick" }, this.tick));
  }

  show(item, key) {
    this.item = item;
    this.key = key;
    this.again();
  }

  /** Say the same item anew: times pass, and it may have been changed. */
  again() {
    if (this.isGone) return;
    this.#columns.forEach((column, index) => this.#fill(this.#cells[index], column, index));
    this.tick?.setAttribute("aria-label", `Select ${this.#texts[0]}, ${this.key}`);
  }

  #fill(cell, { text, fill }, index) {
    const says = text(this.item);
    if (this.#texts[index] === says) return;
    this.#texts[index] = says;
    cell.replaceChildren();
    if (fill) fill(cell, this.item);
    else cell.append(says);
  }

  /** Strike it out, and say why where its button was. */
  strike(why) {
    this.isGone = true;
    this.line.classList.add("gone");
    for (const control of this.line.querySelectorAll("button, input")) control.disabled = true;
    setText(this.#cells.at(-1), why);
  }
}
