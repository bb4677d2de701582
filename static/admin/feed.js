// What happens on this node, the latest first: as much of it as can be read.

import { element, linkTo, make, userName } from "./element.js";
import { codeInWords, happeningInWords, reasonInWords, timeOfDay } from "./words.js";

const KEPT = 40;
const PAUSE = 400; // milliseconds between two times that it is drawn: a thousand events are no more work than forty

export class Feed {
  #latest = [];
  #timer = 0;

  take(what, happening) {
    this.#latest.unshift({ what, ...happening });
    this.#latest.length = Math.min(this.#latest.length, KEPT);
    this.#timer ||= setTimeout(() => { this.#timer = 0; this.draw(); }, PAUSE);
  }

  draw() {
    if (element("overview").hidden) return;
    element("feed-empty").hidden = this.#latest.length > 0;
    // What the keyboard is at must not be taken away; it is drawn with the next.
    if (element("feed").contains(document.activeElement) && document.activeElement !== element("feed")) return;
    element("feed").replaceChildren(...this.#latest.map(line));
  }
}

function line({ what, at, ref, user, ip, reason, code }) {
  const why = reason ? `: ${reasonInWords(reason)}` : code ? `: ${codeInWords(code)}` : "";
  const link = ref === null || what === "ended" ? [] : [" ", linkTo(ref)];
  return make(
    "li", { className: what },
    make("time", {}, timeOfDay(at)), " ", make("b", {}, happeningInWords(what)), why, " ",
    make("span", { className: "soft" }, userName(user), ` ${ip}`), ...link,
  );
}
