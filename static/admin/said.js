// What was done, or was not: at the foot of the page, and told to screen readers. It stays until the next, or until it is closed.

import { element, make } from "./element.js";

export function say(text, kind = "done") {
  const close = make("button", { type: "button", className: "quiet", onclick: hush }, "Close");
  close.setAttribute("aria-label", "Close this message");
  const line = make("p", { className: kind }, make("span", {}, text), close);
  element("said").replaceChildren(line);
}

export function sayProblem(error) {
  if (error.name === "AbortError") return;
  say(error.message, "failed");
}

function hush() {
  element("said").replaceChildren();
}
