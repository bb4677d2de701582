// The list of sessions: searched, sorted, selected, ended, and as live as it can be told.

import { call } from "./api.js";
import * as clock from "./clock.js";
import { element, make, setText, userName } from "./element.js";
import { endFound, endOne, endSelected, inWords } from "./ending.js";
import { Listing } from "./listing.js";
import { Refresh } from "./refresh.js";
import { ago, counted, reasonInWords, seconds, shortRef } from "./words.js";

const EVERY = 10_000; // milliseconds: what other nodes do is in no event here
const SEARCHED_EVERY = 60_000; // where the server looks at many sessions to find some

/** Seconds since or until, when this is shown: the answer is older. */
const since = (session) => clock.now() - session.told;
const left = ({ expires_in: told }, passed) => (told === null ? null : told - passed);

const COLUMNS = [
  { name: "User", text: ({ user }) => (user === null ? "anonymous" : `user ${user}`), fill: (cell, { user }) => cell.append(userName(user)) },
  { name: "Address", text: ({ ip }) => ip, className: "code" },
  { name: "Started", text: ({ created_at: at }) => ago(at), order: (session) => session.created_at },
  { name: "Idle", text: (session) => seconds(session.idle + since(session)), order: (session) => session.idle },
  {
    name: "Ends in",
    text: (session) => seconds(left(session, since(session))),
    order: (session) => session.expires_in ?? Infinity,
  },
  { name: "Sockets", text: ({ connections }) => String(connections), order: (session) => session.connections, className: "number" },
  {
    name: "Session",
    text: ({ ref }) => ref,
    fill: (cell, { ref }) => cell.append(make("a", { href: `#session/${ref}`, title: ref }, shortRef(ref))),
    className: "code",
  },
];

export class Sessions {
  #choice = {};
  #refresh = new Refresh(() => this.#list.load(), { isShown: () => !element("sessions").hidden });

  constructor() {
    this.#list = new Listing(element("sessions-list"), {
      name: "Sessions",
      key: ({ ref }) => ref,
      columns: [...COLUMNS, { says: "Act", text: ({ user }) => String(user), fill: (cell, session) => cell.append(this.#endButton(session)) }],
      sortBy: "Started",
      fetchPage: (query, signal) => this.#page(query, signal),
      onSelect: (selected) => this.#showSelected(selected),
    });
    const form = element("sessions-search");
    form.onsubmit = (event) => { event.preventDefault(); this.#search(new FormData(form)); };
    form.onreset = () => this.#search(new FormData());
    element("end-selected").onclick = () => this.#endSelected();
    element("deselect").onclick = () => this.#list.deselect();
    element("end-found").onclick = () => this.#endFound();
  }

  #list;

  show() {
    return this.#list.load();
  }

  sayTimes() {
    this.#list.sayTimes();
  }

  /** Take in what happened: what is shown at once, what is not with the next look. */
  take(what, { ref, user, reason }) {
    if (ref === null) return;
    const list = this.#list;
    if (what === "ended") list.gone(ref, reasonInWords(reason));
    if (what === "renewed") list.change(ref, (session) => { session.user = user; });
    if (what === "connected") list.change(ref, (session) => { session.connections += 1; });
    if (what === "disconnected") list.change(ref, (session) => { session.connections = Math.max(0, session.connections - 1); });
    if (what === "started" || what === "ended") this.#refresh.soon();
  }

  lookAgain() {
    this.#refresh.soon();
  }

  async #page({ cursor, limit }, signal) {
    const told = await call("GET", "sessions", { query: { ...this.#choice, cursor, limit }, signal });
    this.#refresh.isCostly = told.total === null;
    this.#refresh.every = this.#refresh.isCostly ? SEARCHED_EVERY : EVERY;
    const now = clock.now();
    for (const session of told.sessions) session.told = now;
    setTimeout(() => this.#showFound());
    return { items: told.sessions, total: told.total, cursor: told.cursor };
  }

  #search(form) {
    const before = form.get("before");
    this.#choice = {
      user: form.get("user") ?? "",
      ip: (form.get("ip") ?? "").trim(),
      before: before ? new Date(before).getTime() / 1000 : "",
    };
    this.#list.first();
  }

  // --- ends ---

  #endButton({ ref, user }) {
    const button = make("button", { type: "button", className: "danger small" }, "End");
    button.setAttribute("aria-label", `End session ${shortRef(ref)} of ${user ?? "anonymous"}`);
    button.onclick = async () => { if (await endOne(ref, user)) this.#list.gone(ref, reasonInWords("admin")); };
    return button;
  }

  async #endSelected() {
    if (await endSelected([...this.#list.selected.keys()])) this.#done();
  }

  async #endFound() {
    if (await endFound(this.#choice, this.#list.total)) this.#done();
  }

  #done() {
    this.#list.deselect();
    return this.#list.first();
  }

  #showSelected(selected) {
    element("end-selected").disabled = selected.size === 0;
    setText(element("end-selected"), selected.size ? `End ${counted(selected.size, "selected session")}` : "End selected");
    element("deselect").hidden = selected.size === 0;
  }

  #showFound() {
    setText(element("end-found"), `End ${inWords(this.#choice)}`);
    element("end-found").disabled = this.#list.total === 0;
  }
}
