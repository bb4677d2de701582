// What the client's tests stand on: a clock that moves when told to, a server without a network, a page without a browser.

import { connect } from "../../static/wshttp.js";

export const ORIGIN = "http://server.test";

/** Let everything that waits for nothing but its turn have its turn. */
export async function settle() {
  for (let turn = 0; turn < 8; turn += 1) await new Promise(setImmediate);
}

/** A clock in Unix milliseconds; timers ring while it is advanced, each at its time. */
export class FakeClock {
  #now = 1_767_225_600_000;
  #timers = new Map();
  #last = 0;

  now = () => this.#now;

  setTimeout = (call, delay) => {
    if (delay >= 2 ** 31) throw new RangeError("a browser would ring at once");
    this.#timers.set(++this.#last, { call, due: this.#now + delay });
    return this.#last;
  };

  clearTimeout = (handle) => {
    this.#timers.delete(handle);
  };

  /** How many timers wait. */
  get pending() {
    return this.#timers.size;
  }

  async advance(seconds) {
    const until = this.#now + seconds * 1000;
    await settle();
    for (let next = this.#next(until); next; next = this.#next(until)) {
      const [handle, { call, due }] = next;
      this.#timers.delete(handle);
      this.#now = Math.max(this.#now, due);
      call();
      await settle();
    }
    this.#now = until;
  }

  /** Time passes, and no timer rings: the computer sleeps. */
  sleep(seconds) {
    this.#now += seconds * 1000;
  }

  #next(until) {
    const due = [...this.#timers].filter(([, timer]) => timer.due <= until);
    return due.sort(([a, one], [b, other]) => one.due - other.due || a - b)[0];
  }
}

/** A page: what `window` and `document` tell, and nothing else. */
export class FakePage extends EventTarget {
  document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  location = { origin: ORIGIN, href: `${ORIGIN}/page` };

  look() {
    this.document.dispatchEvent(new Event("visibilitychange"));
  }

  online() {
    this.dispatchEvent(new Event("online"));
  }

  leave(persisted = false) {
    this.dispatchEvent(Object.assign(new Event("pagehide"), { persisted }));
  }
}

/** `sessionStorage`, or its like. */
export class FakeArea {
  items = new Map();
  getItem = (key) => this.items.get(key) ?? null;
  setItem = (key, value) => void this.items.set(key, value);
  removeItem = (key) => void this.items.delete(key);
}

/** The channel that all tabs of an application share; what one posts the others hear, as structured clones. */
export class FakeChannels {
  #open = new Set();
  posted = [];

  open() {
    const channel = {
      onmessage: null,
      postMessage: (message) => {
        this.posted.push(message);
        for (const other of this.#open) if (other !== channel) other.onmessage({ data: structuredClone(message) });
      },
      close: () => void this.#open.delete(channel),
    };
    this.#open.add(channel);
    return channel;
  }
}

/** One end of a connection in the server: what the client sent, and what it is told. */
class Connection {
  sent = [];
  closed = null; // the code with which the client closed

  constructor(server, url, kind) {
    this.server = server;
    this.url = new URL(url);
    this.kind = kind;
    this.name = `c${server.connections.push(this)}`;
    setImmediate(() => server.handshake(this)); // a task of its own, as in browsers
  }

  tell(message) {
    if (this.closed === null) this.onmessage?.({ data: JSON.stringify(message) });
  }

  heard(message) {
    this.sent.push(message);
    this.server.heard(this, message);
  }

  /** All messages of a type that the client sent. */
  of(type) {
    return this.sent.filter((message) => message.type === type);
  }
}

/** A server of one client, whose session, topics and troubles are set from outside. */
export class FakeServer {
  connections = [];
  requests = [];
  session = facts();
  autoStart = true;
  identity = "cookie";
  token = null;
  offers = { login: true, topics: ["*"], ticket: true, stream: true, history: 100, ping: true };
  isUp = true;
  blocksWebSockets = false;
  isMute = false; // takes messages and says nothing
  history = null; // or { life, messages, kept }
  overrides = new Map(); // answers by "METHOD /path"
  onApp = null; // answers `app`
  #lastSession = 1;

  // --- HTTP

  fetch = async (url, { method = "GET", headers, body, keepalive, redirect, signal } = {}) => {
    const { pathname, search, origin } = new URL(url);
    const path = pathname.replace("/wshttp", "") + search;
    const how = { headers: new Headers(headers), body: body && JSON.parse(body), keepalive, redirect };
    const request = { method, path, origin, ...how };
    this.requests.push(request);
    if (!this.isUp) throw new TypeError("fetch failed");
    const answer = this.overrides.get(`${method} ${path}`) ?? this.#answers[`${method} ${path}`];
    const givenUp = new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
    return Promise.race([answer ? answer(request) : problem(404, "not-found"), givenUp]);
  };

  asked(method, path) {
    return this.requests.filter((request) => request.method === method && request.path === path);
  }

  #answers = {
    "GET /session": (request) => (this.#knows(request) || !this.autoStart ? this.#describe(request) : this.begin()),
    "GET /session?touch=0": (request) => this.#describe(request),
    "POST /session": (request) => (this.#knows(request) ? this.#describe(request) : this.begin(201)),
    "POST /session/touch": (request) => this.#describe(request),
    "DELETE /session": (request) => this.#knows(request) ? (this.session = null, new Response(null, { status: 204 })) : gone(),
    "POST /login": ({ body }) => this.logIn(body),
    "POST /ticket": (request) => this.#knows(request)
      ? json({ ticket: `ticket-${this.requests.length}`, expires_in: 30 }, 201)
      : this.ended(),
    "POST /send": ({ body }) => this.#up(body),
  };

  /** Why the client's session is over, if it asks. */
  reason = null;

  ended() {
    return gone(this.reason);
  }

  begin(status = 200) {
    this.session = facts({ ref: `r${++this.#lastSession}`, identity: this.identity });
    return json(this.session, status, this.#newToken());
  }

  logIn({ user, password }) {
    if (password !== "right") return problem(401, "bad-credentials");
    this.session = { ...(this.session ?? facts()), user, roles: ["staff"], expires_in: 1200 };
    return json(this.session, 200, this.#newToken());
  }

  #newToken() {
    if (this.identity !== "header") return {};
    this.token = tokenOf(`token-${this.requests.length}`);
    return { "Session-Token": this.token };
  }

  #knows({ headers }) {
    if (this.session === null) return false;
    return this.identity !== "header" || headers.get("Authorization") === `Session ${this.token}`;
  }

  #describe(request) {
    return this.#knows(request) ? json(this.session, 200, announced(this.session)) : this.ended();
  }

  #up({ connection: name, message }) {
    const connection = this.connections.find((each) => each.name === name && each.closed === null);
    if (!connection) return problem(404, "not-found");
    connection.heard(message);
    return new Response(null, { status: 202 });
  }

  // --- sockets

  get WebSocket() {
    const server = this;
    return class extends Connection {
      constructor(url, protocol) {
        super(server, url, "websocket");
        this.protocol = protocol;
      }
      send = (text) => this.heard(JSON.parse(text));
      close = (code) => void (this.closed = code);
      /** The server closes, or (1006) the connection is lost. */
      drop = (code = 1006, reason = "") => this.onclose?.({ code, reason });
    };
  }

  get EventSource() {
    const server = this;
    return class extends Connection {
      constructor(url) {
        super(server, url, "stream");
      }
      close = () => void (this.closed = 1000);
      drop = (code = 1006, reason = "") => (code === 1006 ? this.onerror({}) : this.tell({ type: "closed", code, reason }));
    };
  }

  handshake(connection) {
    const isRefused = !this.isUp || (this.blocksWebSockets && connection.kind === "websocket");
    if (isRefused || (this.session === null && !this.autoStart)) return connection.drop();
    if (this.session === null) this.begin();
    connection.tell({ type: "welcome", version: 1, connection: connection.name, session: this.session, offers: this.offers });
  }

  heard(connection, message) {
    if (this.isMute) return;
    const answer = this.#actions[message.type]?.(connection, message);
    if (message.id !== undefined) connection.tell({ type: "ok", id: message.id, expires_in: 1200, ...answer });
  }

  #actions = {
    ping: (connection) => connection.tell({ type: "pong" }),
    subscribe: (connection, { topic, after }) => {
      connection.tell({ type: "presence", topic, members: [{ ref: "r1", user: null, connections: 1 }] });
      if (this.history) this.#resume(connection, topic, after);
    },
    publish: () => ({ receivers: 1 }),
    app: (connection, { data }) => this.onApp?.(data),
  };

  #resume(connection, topic, after) {
    const { life, messages, kept } = this.history;
    const first = Math.max(0, messages.length - kept);
    const from = after?.life === life ? Math.max(after.offset, first) : after ? first : messages.length;
    messages.slice(from).forEach((data, index) => connection.tell(this.#message(topic, data, from + index + 1)));
    const whole = !after || (after.life === life && after.offset >= first);
    connection.tell({ type: "resumed", topic, life, offset: messages.length, whole });
  }

  /** Publish on a topic, to the connection in use. */
  publish(topic, data) {
    const offset = this.history?.messages.push(data);
    if (this.connection?.closed === null) this.connection.tell(this.#message(topic, data, offset));
  }

  #message(topic, data, offset) {
    const place = offset === undefined ? {} : { offset, life: this.history.life };
    return { type: "message", topic, data, from: null, ...place };
  }

  get connection() {
    return this.connections.at(-1);
  }

  /** The session ends, and the socket with it. */
  end(reason, code) {
    this.session = null;
    this.reason = reason;
    this.connection.tell({ type: "ended", reason });
    this.connection.drop(code, `session-ended:${reason}`);
  }
}

export function facts(more = {}) {
  return {
    ref: "r1", user: null, roles: [], identity: "cookie", created_at: 1767225600, expires_in: 1200,
    absolute_expires_in: 43200, connections: 1, ...more,
  };
}

/** Return what looks like a token of the server: 43 characters. */
export function tokenOf(name) {
  return name.padEnd(43, "-");
}

export function json(body, status = 200, headers = {}) {
  return new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json", ...headers } });
}

export function problem(status, name, { headers, ...more } = {}) {
  const body = { type: `urn:wshttp:${name}`, title: name, status, detail: `it is ${name}`, ...more };
  return new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/problem+json", ...headers } });
}

const gone = (reason) => problem(401, "session-ended", reason ? { reason } : {});
const announced = ({ expires_in }) => ({ "Session-Expires-In": String(expires_in) });

/** Return an answer whose head comes, and whose body does not. */
export function stalled(status = 200, headers = {}) {
  return new Response(new ReadableStream(), { status, headers });
}

/** A client of a fake server, what it has told, and all that it lives in. */
export function clientOf(server = new FakeServer(), options = {}) {
  const clock = options.clock ?? new FakeClock();
  const page = options.window ?? new FakePage();
  const client = connect({
    fetch: server.fetch, WebSocket: server.WebSocket, EventSource: server.EventSource, channel: null,
    random: () => 0.5, ...options, window: page, clock,
  });
  const told = [];
  for (const name of [
    "session", "expiring", "ended", "open", "close", "state", "message", "presence", "joined", "left", "resumed", "gap",
    "error",
  ]) client.on(name, (detail) => told.push([name, detail]));
  /** The details of all events of a name. */
  const all = (name) => told.filter(([each]) => each === name).map(([, detail]) => detail);
  return { client, server, clock, page, told, all };
}

/** The same, once it is open. */
export async function open(server, options) {
  const all = clientOf(server, options);
  await settle();
  return all;
}
