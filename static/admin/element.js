// Elements of the page. What comes from the server goes in as text, and only here: there is no HTML from anywhere.

import { shortRef } from "./words.js";

export const element = (id) => document.getElementById(id);

/** Make an element: properties where it has them, attributes else; strings become text. */
export function make(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** Text that somebody else chose: what it does to the direction of writing ends with it. */
export const foreign = (text, className = "") => make("bdi", { className, textContent: text });

/** A user's name; that nobody has logged in looks other than a user who is called so. */
export const userName = (user) => (user === null ? make("span", { className: "nobody" }, "anonymous") : foreign(user));

/** A link to the card of a session. */
export const linkTo = (ref) => make("a", { href: `#session/${ref}`, className: "code", title: ref }, shortRef(ref));

/** Change text only where it differs, so that a selection in it survives. */
export function setText(place, text) {
  if (place.textContent !== text) place.textContent = text;
}
