// One session's card: facts, what it holds by name and size, its connections, and what happened to it.

import { call } from "./api.js";
import * as clock from "./clock.js";
import { kickButton } from "./connections.js";
import { element, foreign, make, setText, userName } from "./element.js";
import { endFound, endOne } from "./ending.js";
import { Refresh } from "./refresh.js";
import { ago, bytes, codeInWords, count, counted, date, happeningInWords, reasonInWords, seconds, timeOfDay } from "./words.js";

const MANY = 30; // keys that are shown before somebody asks for more

export class Card {
  #ref = null;
  #ended = false;
  #dialog = element("card");
  #refresh = new Refresh(() => this.#look(), { isShown: () => this.#dialog.open && !this.#ended });

  /** `left` is called when it was closed. */
  constructor(left) {
    this.#dialog.onclose = () => { this.#ref = null; left(); };
  }

  async open(ref) {
    [this.#ref, this.#ended] = [ref, false];
    this.#dialog.replaceChildren(...this.#frame(ref));
    if (!this.#dialog.open) this.#dialog.showModal();
    await this.#look();
  }

  close() {
    if (this.#dialog.open) this.#dialog.close();
  }

  take(what, { ref, reason }) {
    if (ref === null || ref !== this.#ref) return;
    if (what === "ended") this.#over(`This session has ended: ${reasonInWords(reason)}.`);
    else this.#refresh.soon();
  }

  #frame(ref) {
    const close = make("button", { type: "button", className: "quiet", onclick: () => this.close() }, "Close");
    close.setAttribute("aria-label", "Close this card");
    this.state = make("p", { className: "notice", role: "status", hidden: true });
    this.parts = make("div", { className: "parts" });
    const title = make("h2", { id: "card-title" }, "Session ", make("span", { className: "code" }, ref));
    return [make("div", { className: "bar" }, title, close), this.state, this.parts];
  }

  async #look() {
    const ref = this.#ref;
    try {
      const card = await call("GET", `sessions/${ref}`);
      if (ref === this.#ref && !this.#ended) this.#show(card);
    } catch (error) {
      if (ref === this.#ref && !this.#ended) this.#over(error.status === 404 ? "There is no live session of this ref." : error.message, error.status === 404);
    }
  }

  /** Say that there is no more to come; what was seen last stays. */
  #over(text, isEnd = true) {
    this.#ended ||= isEnd;
    this.state.hidden = false;
    setText(this.state, text);
    if (isEnd) for (const button of this.parts.querySelectorAll("button")) button.disabled = true;
  }

  #show(card) {
    if (!getSelection().isCollapsed && this.parts.contains(getSelection().anchorNode)) return; // somebody copies from it
    this.state.hidden = true;
    const isOpen = [...this.parts.querySelectorAll("details")].some((each) => each.open);
    const focused = this.parts.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent : null;
    this.parts.replaceChildren(this.#acts(card.session), facts(card), data(card, isOpen), this.#connections(card), history(card));
    if (focused) this.#focus(focused);
  }

  /** Give back the focus that a new drawing took. */
  #focus(name) {
    const controls = [...this.parts.querySelectorAll("button, a, summary")];
    const same = controls.find((each) => (each.getAttribute("aria-label") ?? each.textContent) === name);
    (same ?? this.#dialog.querySelector("button")).focus();
  }

  #acts({ ref, user }) {
    const end = make("button", { type: "button", className: "danger" }, "End session");
    end.onclick = async () => { if (await endOne(ref, user)) this.#over(`This session has ended: ${reasonInWords("admin")}.`); };
    const acts = make("div", { className: "acts" }, end);
    if (user !== null) {
      const all = make("button", { type: "button", className: "danger" }, "End all sessions of ", foreign(user));
      all.onclick = () => this.#endAll(user);
      acts.append(all);
    }
    return acts;
  }

  async #endAll(user) {
    const { total } = await call("GET", "sessions", { query: { user, limit: 1 } }).catch(() => ({ total: null }));
    if (await endFound({ user }, total)) await this.#look();
  }

  #connections({ connections, session, node }) {
    const elsewhere = session.connections - connections.length;
    const more = elsewhere > 0 ? make("p", { className: "soft" }, `${counted(elsewhere, "other")} on other nodes.`) : "";
    if (!connections.length) return part("Connections", make("p", { className: "soft" }, "None on this node."), more);
    const lines = connections.map((each) => make(
      "li", {},
      make("div", {}, make("span", { className: "code" }, each.id), ` from ${each.ip}, ${ago(each.opened_at)}`, make("br"),
        make("span", { className: "soft" }, foreign(each.path), ", ", foreign(each.subprotocol ?? "no subprotocol"),
          each.topics.length ? ", topics: " : "", foreign(each.topics.join(", ")))),
      kickButton(each, () => this.#refresh.soon()),
    ));
    return part(`Connections of ${node === "local" ? "this node" : `node ${node}`}`, make("ul", { className: "facts" }, ...lines), more);
  }
}

function part(title, ...content) {
  return make("section", {}, make("h3", {}, title), ...content);
}

function facts({ session, user_agent: agent, idle_timeout: idle, absolute_timeout: absolute }) {
  const timeout = (length) => (length === 0 ? "without" : seconds(length));
  const list = {
    User: userName(session.user),
    Roles: foreign(session.roles.join(", ") || "none"),
    Address: make("span", { className: "code" }, session.ip),
    "User agent": foreign(agent || "none"),
    "Known by": session.identity,
    Started: `${date(session.created_at)}, ${ago(session.created_at)}`,
    "Last access": date(session.last_access_at),
    "Ends in": seconds(session.expires_in),
    "Ends at the latest in": seconds(session.absolute_expires_in),
    "Time-outs": `idle: ${timeout(idle)}, in all: ${timeout(absolute)}`,
  };
  const pairs = Object.entries(list).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));
  return part("Facts", make("dl", { className: "facts" }, ...pairs));
}

function data({ data: { size, keys } }, isOpen) {
  const title = `Data: ${keys.length ? `${counted(keys.length, "key")}, ${bytes(size)}` : "none"}`;
  const line = ({ key, size: each }) => make("li", {}, foreign(key, "code"), bytes(each));
  const list = (some) => make("ul", { className: "facts" }, ...some.map(line));
  if (keys.length <= MANY) return part(title, keys.length ? list(keys) : make("p", { className: "soft" }, "Nothing is kept in it."));
  const rest = keys.slice(MANY);
  return part(title, list(keys.slice(0, MANY)), make("details", { open: isOpen }, make("summary", {}, `${count(rest.length)} more`), list(rest)));
}

function history({ history: entries }) {
  const lines = entries.toReversed().map(({ what, at, user, connection, ip, code }) => make(
    "li", { className: what },
    make("time", { dateTime: new Date(at * 1000).toISOString(), title: date(at) }, at > clock.now() - 86400 ? timeOfDay(at) : date(at)),
    " ", make("b", {}, happeningInWords(what)),
    what === "renewed" ? make("span", {}, " as ", userName(user ?? null)) : "",
    code === undefined ? "" : `: ${codeInWords(code)}`,
    connection === undefined ? "" : make("span", { className: "soft" }, ` ${connection} from ${ip}`),
  ));
  return part("History", make("ol", { className: "feed" }, ...lines));
}
