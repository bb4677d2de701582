// What was done, or was not: at the foot of the page, and told to screen readers. It stays until the next is said.

import { element, make } from "./element.js";

const place = element("said");

export function say(text, kind = "done") {
  const close = make("button", { type: "button", className: "quiet", onclick: () => place.replaceChildren() }, "Close");
  close.setAttribute("aria-label", "Close this message");
  // All but the dialog that is open is out of reach, and is not read out.
  ([...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body).append(place);
  place.replaceChildren(make("p", { className: kind }, make("span", {}, text), close));
}

export const sayProblem = (error) => say(error.message, "failed");
