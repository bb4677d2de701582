// The list of WebSockets of this node, and closing them.

import { call } from "./api.js";
import { ask } from "./ask.js";
import { element, foreign, make, setText, userName } from "./element.js";
import { Listing } from "./listing.js";
import { Refresh } from "./refresh.js";
import { say, sayProblem } from "./said.js";
import { ago, codeInWords, counted, shortRef } from "./words.js";

/** Close one, wherever it is. Returns whether it was closed, as far as is known. */
export async function kick({ id, user }) {
  const which = user ? `connection ${id} of ${user}` : `connection ${id}`;
  if (!await ask(`Close ${which}?`, "Its session lives on; a page may open another connection.", "Close connection")) return false;
  try {
    const status = await call("DELETE", `connections/${id}`);
    say(status === 202 ? `Other nodes were told to close ${which}.` : `Closed ${which}.`);
    return true;
  } catch (error) {
    if (error.status === 404) say(`There is no ${which} any more.`);
    else sayProblem(error);
    return false;
  }
}

export function kickButton(connection, closed) {
  const button = make("button", { type: "button", className: "danger small" }, "Close");
  button.setAttribute("aria-label", `Close connection ${connection.id} of ${connection.user ?? "anonymous"}`);
  button.onclick = async () => { if (await kick(connection)) closed(connection.id); };
  return button;
}

const COLUMNS = [
  { name: "User", text: ({ user }) => (user === null ? "anonymous" : `user ${user}`), fill: (cell, { user }) => cell.append(userName(user)) },
  { name: "Address", text: ({ ip }) => ip, className: "code" },
  { name: "Opened", text: ({ opened_at: at }) => ago(at), order: (connection) => connection.opened_at },
  { name: "Path", text: ({ path }) => path, className: "code" },
  { name: "Subprotocol", text: ({ subprotocol }) => subprotocol ?? "none" },
  {
    name: "Topics",
    text: ({ topics }) => topics.join(", ") || "none",
    fill: (cell, { topics }) => cell.append(foreign(topics.join(", ") || "none")),
  },
  {
    name: "Session",
    text: ({ session }) => session ?? "none",
    fill: (cell, { session }) => cell.append(session ? make("a", { href: `#session/${session}`, title: session }, shortRef(session)) : "none"),
    className: "code",
  },
];

export class Connections {
  #choice = {};
  #list;
  #refresh = new Refresh(() => this.#list.load(), { isShown: () => !element("connections").hidden });

  constructor() {
    const act = { says: "Act", text: ({ user }) => String(user), fill: (cell, each) => cell.append(kickButton(each, (id) => this.#closed(id, 4008))) };
    this.#list = new Listing(element("connections-list"), {
      name: "Connections",
      key: ({ id }) => id,
      columns: [...COLUMNS, act],
      sortBy: "Opened",
      fetchPage: (query, signal) => this.#page(query, signal),
    });
    const form = element("connections-search");
    form.onsubmit = (event) => { event.preventDefault(); this.#search(new FormData(form)); };
    form.onreset = () => this.#search(new FormData());
  }

  show() {
    return this.#list.load();
  }

  sayTimes() {
    this.#list.sayTimes();
  }

  take(what, { connection, code }) {
    if (what === "disconnected") this.#closed(connection, code);
    if (what === "connected" || what === "disconnected" || what === "renewed") this.#refresh.soon();
  }

  lookAgain() {
    this.#refresh.soon();
  }

  #closed(id, code) {
    this.#list.gone(id, codeInWords(code));
  }

  async #page(query, signal) {
    const told = await call("GET", "connections", { query: { ...this.#choice, ...query }, signal });
    const others = told.others.map(({ node, connections }) => `node ${node} has ${counted(connections, "WebSocket")}`);
    element("connections-elsewhere").hidden = others.length === 0;
    setText(element("connections-elsewhere"), `These are those of node ${told.node}; ${others.join(", ")}.`);
    const isAll = Object.values(this.#choice).every((value) => !value);
    return { items: told.connections, total: isAll ? told.total : null, cursor: told.cursor };
  }

  #search(form) {
    this.#choice = Object.fromEntries(["user", "ip", "topic"].map((name) => [name, (form.get(name) ?? "").trim()]));
    this.#list.first();
  }
}
