// One session's card: facts, what it holds by name and size, its connections, and what happened to it.

import { call } from "./api.js";
import * as clock from "./clock.js";
import { kickButton } from "./connections.js";
import { element, foreign, make, setText, userName } from "./element.js";
import { endFound, endOne } from "./ending.js";
import { Refresh } from "./refresh.js";
import { ago, bytes, codeInWords, count, counted, date, happeningInWords } from "./words.js";
import { reasonInWords, seconds, timeOfDay } from "./words.js";

const MANY = 30; // keys that are shown before somebody asks for more
const DAY = 86_400; // seconds

export class Card {
  #ref = null;
  #ended = false;
  #dialog = element("card");
  #refresh = new Refresh(() => this.#look(), { isShown: () => this.#isLive() });

  /** `left` gets the ref of the session whose card was closed. */
  constructor(left) {
    this.#dialog.onclose = () => {
      if (this.#dialog.open) return; // the event comes with the next frame: it may show another by now
      const ref = this.#ref;
      this.#ref = null;
      left(ref);
    };
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

  /** While something is asked, what was clicked has to stay: the focus goes back to it. */
  #isLive() {
    return this.#dialog.open && !this.#ended && !element("ask").open;
  }

  take(what, { ref, reason }) {
    if (ref === null || ref !== this.#ref) return;
    if (what === "ended") this.#over(ending(reason));
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
      if (ref !== this.#ref || this.#ended) return;
      if (error.status === 404) this.#over("There is no live session of this ref.");
      else this.#say(error.message);
    }
  }

  /** Say that there is no more to come; what was seen last stays. */
  #over(text) {
    this.#ended = true;
    this.#say(text);
    for (const button of this.parts.querySelectorAll("button")) button.disabled = true;
  }

  #say(text) {
    this.state.hidden = false;
    setText(this.state, text);
  }

  #show(card) {
    const { anchorNode, isCollapsed } = getSelection();
    if (!isCollapsed && this.parts.contains(anchorNode)) return; // somebody copies from it
    if (this.parts.matches(":active")) return; // a button is held down: it has to be there when it is let go
    this.state.hidden = true;
    const isOpen = this.parts.querySelector("details")?.open ?? false;
    const focused = this.parts.contains(document.activeElement) ? nameOf(document.activeElement) : null;
    const happened = make("div", { className: "column" }, data(card, isOpen), this.#connections(card), history(card));
    this.parts.replaceChildren(this.#acts(card.session), facts(card), happened);
    if (focused !== null) this.#focus(focused);
  }

  /** Give back the focus that a new drawing took. */
  #focus(name) {
    const same = [...this.parts.querySelectorAll("button, summary")].find((each) => nameOf(each) === name);
    (same ?? this.#dialog.querySelector("button")).focus();
  }

  #acts({ ref, user }) {
    const end = make("button", { type: "button", className: "danger" }, "End session");
    end.onclick = async () => { if (await endOne(ref, user)) this.#over(ending("admin")); };
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
    const lines = connections.map((each) => make("li", {}, told(each), kickButton(each, () => this.#refresh.soon())));
    const elsewhere = session.connections - connections.length;
    return part(
      node === "local" ? "Connections" : `Connections of node ${node}`,
      lines.length ? make("ul", { className: "facts" }, ...lines) : soft("None."),
      elsewhere > 0 ? soft(`${counted(elsewhere, "other")} on other nodes.`) : "",
    );
  }
}

const nameOf = (control) => control.getAttribute("aria-label") ?? control.textContent;
const ending = (reason) => `This session has ended: ${reasonInWords(reason)}.`;
const soft = (...content) => make("p", { className: "soft" }, ...content);
const part = (title, ...content) => make("section", {}, make("h3", {}, title), ...content);

function told({ id, ip, opened_at: at, path, subprotocol, topics }) {
  return make(
    "div", {},
    make("p", {}, make("span", { className: "code" }, id), ` from ${ip}, ${ago(at)}`),
    soft(foreign(path), ", ", foreign(subprotocol ?? "no subprotocol")),
    topics.length ? soft("Topics: ", foreign(topics.join(", "))) : "",
  );
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
  const pairs = Object.entries(list).map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
  return part("Facts", make("dl", { className: "facts" }, ...pairs.map((pair) => make("div", {}, ...pair))));
}

function data({ data: { size, keys } }, isOpen) {
  const title = `Data: ${keys.length ? `${counted(keys.length, "key")}, ${bytes(size)}` : "none"}`;
  const line = ({ key, size: each }) => make("li", {}, foreign(key, "code"), bytes(each));
  const list = (some) => make("ul", { className: "facts" }, ...some.map(line));
  const [first, rest] = [keys.slice(0, MANY), keys.slice(MANY)];
  const more = () => make("details", { open: isOpen }, make("summary", {}, `${count(rest.length)} more`), list(rest));
  return part(title, first.length ? list(first) : soft("Nothing is kept in it."), rest.length ? more() : "");
}

function history({ history: entries }) {
  const lines = entries.toReversed().map(({ what, at, user, connection, ip, code }) => make(
    "li", { className: what },
    make("time", { title: date(at) }, at > clock.now() - DAY ? timeOfDay(at) : date(at)),
    " ", make("b", {}, happeningInWords(what)),
    what === "renewed" ? make("span", {}, " as ", userName(user ?? null)) : "",
    code === undefined ? "" : `: ${codeInWords(code)}`,
    connection === undefined ? "" : make("span", { className: "soft" }, ` ${connection} from ${ip}`),
  ));
  return part("History", make("ol", { className: "feed" }, ...lines));
}
