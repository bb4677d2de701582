// What the lists of sessions and of connections both have.

import { userName } from "./element.js";
import { named } from "./words.js";

export const USER = {
  name: "User",
  // With a word before it: somebody may be called "anonymous".
  text: ({ user }) => (user === null ? "anonymous" : `user ${named(user)}`),
  fill: (cell, { user }) => cell.append(userName(user)),
};

export const ADDRESS = { name: "Address", text: ({ ip }) => ip, className: "code" };

/** A column of buttons: `button` makes one of an item, and anew when its user is another. */
export const actColumn = (button) => ({
  name: "Act",
  isAct: true,
  text: ({ user }) => String(user),
  fill: (cell, item) => cell.append(button(item)),
});
