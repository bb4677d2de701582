// The list of sessions: searched, sorted, selected, ended, and as live as it can be told.

import { call } from "./api.js";
import * as clock from "./clock.js";
import { actColumn, ADDRESS, USER } from "./columns.js";
import { element, linkTo, make, setText } from "./element.js";
import { endFound, endOne, endSelected, inWords } from "./ending.js";
import { Listing } from "./listing.js";
import { Refresh } from "./refresh.js";
import { ago, counted, named, reasonInWords, seconds, shortRef } from "./words.js";

const EVERY = 10_000; // milliseconds: what other nodes do is in no event here
const SEARCHED_EVERY = 60_000; // where the server looks at many sessions to find some

/** Seconds that have passed since the server told of a session. */
const since = ({ told }) => clock.now() - told;
const left = (session) => (session.expires_in === null ? null : session.expires_in - since(session));

const COLUMNS = [
  USER,
  ADDRESS,
  { name: "Started", text: ({ created_at: at }) => ago(at), order: (session) => session.created_at },
  { name: "Idle", text: (session) => seconds(session.idle + since(session)), order: (session) => session.idle },
  { name: "Ends in", text: (session) => seconds(left(session)), order: (session) => session.expires_in ?? Infinity },
  {
    name: "Sockets",
    text: ({ connections }) => String(connections),
    order: (session) => session.connections,
    className: "number",
  },
  { name: "Session", text: ({ ref }) => ref, fill: (cell, { ref }) => cell.append(linkTo(ref)), className: "code" },
];

export class Sessions {
  #choice = {};
  #list;
  #refresh = new Refresh(() => this.#list.load(), { isShown: () => !element("sessions").hidden });

  constructor() {
    this.#list = new Listing(element("sessions-list"), {
      name: "Sessions",
      key: ({ ref }) => ref,
      columns: [...COLUMNS, actColumn((session) => this.#endButton(session))],
      sortBy: "Started",
      fetchPage: (query, signal) => this.#page(query, signal),
      onChange: () => this.#showActs(),
    });
    const form = element("sessions-search");
    form.onsubmit = (event) => { event.preventDefault(); this.#search(new FormData(form)); };
    form.onreset = () => this.#search(new FormData());
    element("end-selected").onclick = () => this.#endSelected();
    element("deselect").onclick = () => this.#list.deselect();
    element("end-found").onclick = () => this.#endFound();
  }

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
    if (what === "disconnected") list.change(ref, (session) => { session.connections -= session.connections && 1; });
    if (what === "started" || what === "ended") this.#refresh.soon();
  }

  lookAgain() {
    this.#refresh.soon();
  }

  async #page(query, signal) {
    const { sessions, total, cursor } = await call("GET", "sessions", { query: { ...this.#choice, ...query }, signal });
    this.#refresh.isCostly = total === null;
    this.#refresh.every = this.#refresh.isCostly ? SEARCHED_EVERY : EVERY;
    const told = clock.now();
    return { items: sessions.map((session) => ({ ...session, told })), total, cursor };
  }

  #search(form) {
    const before = form.get("before");
    this.#choice = {
      user: form.get("user") ?? "",
      ip: (form.get("ip") ?? "").trim(),
      before: before ? new Date(before).getTime() / 1000 : "",
    };
    return this.#list.first();
  }

  // --- ends ---

  #endButton({ ref, user }) {
    const button = make("button", { type: "button", className: "danger small" }, "End");
    button.setAttribute("aria-label", `End session ${shortRef(ref)} of ${named(user ?? "anonymous")}`);
    button.onclick = async () => { if (await endOne(ref, user)) this.#list.gone(ref, reasonInWords("admin")); };
    return button;
  }

  async #endSelected() {
    if (await endSelected([...this.#list.selected])) this.#done();
  }

  async #endFound() {
    if (await endFound(this.#choice, this.#list.total)) this.#done();
  }

  #done() {
    this.#list.deselect();
    return this.#list.first();
  }

  #showActs() {
    const { selected: { size }, total } = this.#list;
    element("end-selected").disabled = size === 0;
    setText(element("end-selected"), size ? `End ${counted(size, "selected session")}` : "End selected");
    element("deselect").hidden = size === 0;
    element("end-found").disabled = total === 0;
    setText(element("end-found"), `End ${inWords(this.#choice)}`);
  }
}
