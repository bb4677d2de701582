// The list of WebSockets of this node, and closing them.

import { call } from "./api.js";
import { ask } from "./ask.js";
import { actColumn, ADDRESS, USER } from "./columns.js";
import { element, foreign, linkTo, make, setText } from "./element.js";
import { Listing } from "./listing.js";
import { Refresh } from "./refresh.js";
import { say, sayProblem } from "./said.js";
import { ago, codeInWords, counted, named } from "./words.js";

const CLOSED_BY_ADMINISTRATOR = 4008;

/** Close one, wherever it is. Returns whether it was closed, as far as is known. */
async function kick({ id, user }) {
  const which = user === null ? `connection ${id}` : `connection ${id} of ${named(user)}`;
  const meaning = "Its session lives on; a page may open another connection.";
  if (!await ask(`Close ${which}?`, meaning, "Close connection")) return false;
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
  button.setAttribute("aria-label", `Close connection ${connection.id} of ${named(connection.user ?? "anonymous")}`);
  button.onclick = async () => { if (await kick(connection)) closed(connection.id); };
  return button;
}

const topicsOf = ({ topics }) => topics.join(", ") || "none";

const COLUMNS = [
  USER,
  ADDRESS,
  { name: "Opened", text: ({ opened_at: at }) => ago(at), order: (connection) => connection.opened_at },
  { name: "Path", text: ({ path }) => path, className: "code" },
  { name: "Subprotocol", text: ({ subprotocol }) => subprotocol ?? "none" },
  { name: "Topics", text: topicsOf, fill: (cell, connection) => cell.append(foreign(topicsOf(connection))) },
  {
    name: "Session",
    text: ({ session }) => session ?? "none",
    fill: (cell, { session }) => cell.append(session === null ? "none" : linkTo(session)),
    className: "code",
  },
];

export class Connections {
  #choice = {};
  #list;
  #refresh = new Refresh(() => this.#list.load(), { isShown: () => !element("connections").hidden });

  constructor() {
    const closed = (id) => this.#closed(id, CLOSED_BY_ADMINISTRATOR);
    this.#list = new Listing(element("connections-list"), {
      name: "Connections",
      key: ({ id }) => id,
      columns: [...COLUMNS, actColumn((connection) => kickButton(connection, closed))],
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
    this.#showElsewhere(told);
    const isSearch = Object.values(this.#choice).some((value) => value !== "");
    return { items: told.connections, total: isSearch ? null : told.total, cursor: told.cursor };
  }

  #showElsewhere({ node, others }) {
    const theirs = others.map((other) => `node ${other.node} has ${counted(other.connections, "WebSocket")}`);
    element("connections-elsewhere").hidden = others.length === 0;
    setText(element("connections-elsewhere"), `These are those of node ${node}; ${theirs.join(", ")}.`);
  }

  #search(form) {
    this.#choice = Object.fromEntries(["user", "ip", "topic"].map((name) => [name, (form.get(name) ?? "").trim()]));
    return this.#list.first();
  }
}
