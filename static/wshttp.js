// The browser's side of wshttp: a session, what is said over its socket, and how both come back.
//
//     import { connect } from "/wshttp/wshttp.js";
//
//     const client = connect();
//     client.on("expiring", ({ seconds }) => offerToStay(seconds));
//     client.on("ended", ({ text }) => show(text));
//     client.subscribe("chat", (data, { from }) => print(from?.user, data));
//     client.publish("chat", { text: "hello" });
//
// One file, no dependency, no build. docs/reference/client.md describes it, docs/reference/wire.md what goes over the
// wire. Times are milliseconds in here, and seconds wherever this module or the wire tells them to others.

/** Why a connection closed: code and reason as they come, whether to come back, and what to tell a person. */
export const CLOSE = Object.freeze([
  { code: 1000, reason: "bye", again: "later", text: "The server said goodbye." },
  { code: 1001, reason: "going away", again: "soon", text: "The server is going away." },
  { code: 1002, reason: "", again: "later", text: "The server did not understand this page." },
  { code: 1003, reason: "", again: "later", text: "The server does not take this kind of message." },
  { code: 1006, reason: "", again: "soon", text: "The connection was lost." },
  { code: 1007, reason: "", again: "later", text: "The server got text that is not UTF-8." },
  { code: 1008, reason: "policy", again: "never", text: "This page may not talk to the server any more." },
  { code: 1009, reason: "", again: "later", text: "A message was too big for the server." },
  { code: 1011, reason: "internal error", again: "later", text: "Something went wrong on the server." },
  { code: 1011, reason: "ping timeout", again: "soon", text: "This page did not answer in time." },
  { code: 1013, reason: "slow", again: "later", text: "This page was too slow for what it was sent." },
  { code: 1013, reason: "rate", again: "later", text: "This page sent too many messages." },
  { code: 1013, reason: "capacity", again: "later", text: "The server has too much to do." },
  { code: 4000, reason: "session-renewed", again: "at once", text: "The session was renewed." },
  { code: 4001, reason: "session-ended:logout", again: "never", text: "The session has ended: you ended it, here or in another tab." },
  { code: 4002, reason: "session-ended:idle", again: "never", text: "The session has ended: nobody used it for too long." },
  { code: 4003, reason: "session-ended:absolute", again: "never", text: "The session has ended: it has reached its greatest age." },
  { code: 4004, reason: "session-ended:replaced", again: "never", text: "The session has ended: another one took its place." },
  { code: 4005, reason: "session-ended:limit", again: "never", text: "The session has ended: there were too many." },
  { code: 4006, reason: "session-ended:admin", again: "never", text: "The session has ended: an administrator ended it." },
  { code: 4007, reason: "session-ended:credentials", again: "never", text: "The session has ended: the user or the password has changed." },
  { code: 4008, reason: "kicked", again: "never", text: "An administrator closed this connection." },
]);

/** The types of messages in subprotocol `wshttp.v1`. */
export const TYPES = Object.freeze({
  received: [
    "welcome", "session", "expiring", "ended", "message", "presence", "joined", "left", "resumed", "app", "queue",
    "ok", "error", "pong", "closed",
  ],
  sent: ["subscribe", "unsubscribe", "publish", "touch", "app", "ping"],
});

/** What `client.on` takes. */
export const EVENTS = Object.freeze([
  "session", "expiring", "ended", "open", "close", "state", "message", "presence", "joined", "left", "resumed", "gap",
  "error",
]);

const SUBPROTOCOL = "wshttp.v1";
const LOST = 1006;
const TOO_BIG = 1009;

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const FIRST_WAIT = 1 * SECOND; // up to: the next is up to twice as long, and so on
const LONGEST_WAIT = 30 * SECOND;
const LATER = 3; // doublings that a server who has too much to do is spared
const STOOD = 5 * SECOND; // a connection that lived so long has ended a row of bad ones
const OPEN_WITHIN = 15 * SECOND; // from the first step to `welcome`
const PONG_WITHIN = 10 * SECOND;
const ANSWER_WITHIN = 60 * SECOND; // an answer without which nobody waits: a server whose store is away takes its time
const WAKEFUL = 5 * SECOND; // a page that is looked at again trusts a connection that was silent for less
const FAILURES_BEFORE_STREAM = 2;
const WEBSOCKET_AGAIN = 5 * MINUTE;
const JOIN_AGAIN = 5 * SECOND;
const MISSING_FOR = 2 * SECOND; // what a server has left out does not come by itself
const LATE = 2 * SECOND; // the server rounds down, and tells an end by itself within half a second
const LONGEST_TIMER = 60 * MINUTE; // browsers overflow at 2^31 ms, and a session may live longer
const OFFSETS_AHEAD = 1000;
const BUFFERED = 2 ** 20; // bytes of a WebSocket that the network has not taken yet, and
const POSTS_AHEAD = 10; // messages of a stream that wait for their turn: more wait where they can still be given up
const BEGINNING = Object.freeze({ life: "", offset: 0 }); // no life has this name, so all that is kept of any comes

/** Return the row of `CLOSE` for a code and a reason; there is one for every code. */
export function explain(code, reason = "") {
  const rows = CLOSE.filter((row) => row.code === code);
  const text = "The server closed the connection.";
  return rows.find((row) => row.reason === reason) ?? rows[0] ?? { code, reason, again: "soon", text };
}

/** Return the code that says a session ended for this reason; none for those after which a client comes back. */
function codeOfEnd(reason) {
  return CLOSE.find((row) => row.reason === `session-ended:${reason}`)?.code ?? null;
}

/** Return what to tell a person of the end of a session. */
function textOfEnd(reason) {
  const code = codeOfEnd(reason);
  if (code !== null) return explain(code).text;
  return reason === "shutdown" ? "The session has ended: the server was stopped." : "The session has ended.";
}

/** What did not work: `code` is the name of a problem on the wire, or one of this module's own. */
export class WshttpError extends Error {
  constructor(code, detail, { status = null, reason = null, retryAfter = null } = {}) {
    super(detail);
    this.name = "WshttpError";
    Object.assign(this, { code, status, reason, retryAfter });
  }
}

/** Begin: find out who this page is, and open its socket. */
export function connect(options = {}) {
  return new Client(options);
}

// --- small parts ------------------------------------------------------------------------------------

/** A promise with its two ends. Nobody has to look at it: a rejection is told by the event `error` too. */
function deferred() {
  const ends = {};
  ends.promise = new Promise((resolve, reject) => Object.assign(ends, { resolve, reject }));
  ends.promise.catch(() => {});
  return ends;
}

/** Who listens for what. A listener that throws keeps nobody else from hearing. */
class Events {
  #listeners = new Map(EVENTS.map((name) => [name, new Set()]));

  on(name, listener) {
    const listeners = this.#listeners.get(name);
    if (!listeners) throw new TypeError(`there is no event ${name}; there are ${EVENTS.join(", ")}`);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  emit(name, detail) {
    for (const listener of [...this.#listeners.get(name)]) guarded(listener, detail);
  }
}

function guarded(call, ...values) {
  try {
    call(...values);
  } catch (error) {
    (globalThis.reportError ?? console.error)(error);
  }
}

/** One moment at which something is to be done, however far away. */
class Timer {
  #clock;
  #call;
  #due = null;
  #handle = null;

  constructor(clock, call) {
    this.#clock = clock;
    this.#call = call;
  }

  get due() {
    return this.#due;
  }

  after(delay) {
    this.at(this.#clock.now() + delay);
  }

  at(due) {
    this.stop();
    if (due === Infinity) return;
    this.#due = due;
    this.check();
  }

  stop() {
    this.#clock.clearTimeout(this.#handle);
    this.#due = null;
  }

  /** Look at the clock again: a computer that slept has stopped its timers. */
  check() {
    if (this.#due === null) return;
    this.#clock.clearTimeout(this.#handle);
    const delay = Math.max(0, this.#due - this.#clock.now());
    this.#handle = this.#clock.setTimeout(() => this.#rang(), Math.min(delay, LONGEST_TIMER));
  }

  #rang() {
    if (this.#clock.now() < this.#due) return this.check();
    this.#due = null;
    this.#call();
  }
}

/** How long to wait before the next attempt: a random time, up to twice as much with each one, within bounds. */
class Backoff {
  #random;
  #doublings = 0;

  constructor(random) {
    this.#random = random;
  }

  next(atLeast = 0) {
    const most = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.max(this.#doublings, atLeast));
    this.#doublings = Math.max(this.#doublings, atLeast) + 1;
    return this.#random() * most;
  }

  reset() {
    this.#doublings = 0;
  }
}

// --- the session --------------------------------------------------------------------------------------

/** What is known of this page's session, and for how long it is there. */
class Session {
  ref = null;
  user = null;
  roles = [];
  identity = null;
  createdAt = null;
  connections = 0;
  turns = 0; // times that this page became somebody else: what was asked before tells of who it was

  #clock;
  #warnBefore;
  #hooks;
  #until = Infinity;
  #absoluteUntil = Infinity;
  #longest = 0; // it had left at any time
  #warnedOf = null; // the deadline
  #patience = LATE;
  #warning;
  #deadline;

  /** `hooks`: `changed`, `prolonged`, `expiring`, `ended` are told; `isWatched`, `isOurs` tell; `ask` asks the server. */
  constructor(clock, warnBefore, hooks) {
    this.#clock = clock;
    this.#warnBefore = warnBefore;
    this.#hooks = hooks;
    this.#warning = new Timer(clock, () => this.#warningDue());
    this.#deadline = new Timer(clock, () => this.#deadlineDue());
  }

  /** Seconds until it ends if nothing happens, not rounded; `null`: never, or there is none. */
  expiresIn() {
    return this.#secondsTo(this.#until);
  }

  /** Seconds until it ends whatever happens; `null`: never, or there is none. */
  absoluteExpiresIn() {
    return this.#secondsTo(this.#absoluteUntil);
  }

  get until() {
    return this.#until;
  }

  /** Take what the server says of it; `null` where the server has no sessions. */
  learn(facts) {
    if (this.ref !== null && this.ref !== facts?.ref) this.end(null);
    if (!facts) return;
    if (this.ref !== facts.ref || this.user !== facts.user) this.turns += 1;
    this.ref = facts.ref;
    this.user = facts.user;
    this.roles = facts.roles;
    this.identity = facts.identity;
    this.createdAt = new Date(facts.created_at * SECOND);
    this.connections = facts.connections;
    this.#absoluteUntil = this.#moment(facts.absolute_expires_in);
    this.prolong(facts.expires_in);
    this.#hooks.changed();
  }

  /** It lives for so many seconds from now; `null`: for ever. */
  prolong(seconds) {
    if (this.ref === null) return;
    const before = this.#until;
    this.#lastUntil(this.#moment(seconds));
    if (Math.abs(this.#until - before) >= SECOND || before === Infinity) this.#hooks.prolonged(this.ref, this.#until);
  }

  /** Another tab has heard until when it lives. */
  prolongedElsewhere(until) {
    if (this.ref !== null) this.#lastUntil(Math.max(this.#until, until ?? Infinity));
  }

  /** Say once for each deadline that it comes near. */
  warn(seconds) {
    if (this.ref === null || this.#warnedOf !== null) return;
    this.#warnedOf = this.#until;
    this.#warning.stop();
    this.#hooks.expiring(seconds);
  }

  /** It is over; `reason` is `null` where nobody said why. */
  end(reason) {
    if (this.ref === null) return;
    const { ref, user } = this;
    this.forget();
    this.#hooks.ended({ ref, user, reason, text: textOfEnd(reason) });
  }

  /** Forget it without a word. */
  forget() {
    this.stop();
    this.turns += 1;
    Object.assign(this, { ref: null, user: null, roles: [], identity: null, createdAt: null, connections: 0 });
    this.#until = this.#absoluteUntil = Infinity;
    this.#longest = 0;
    this.#warnedOf = null;
  }

  /** The told time is over: forget it where nobody else can have prolonged it, else ask. */
  async settle() {
    if (this.ref === null || this.#clock.now() < this.#until) return;
    if (this.#hooks.isOurs()) this.end(this.#absoluteUntil <= this.#until ? "absolute" : "idle");
    else await this.#hooks.ask();
  }

  /** Look at the clock again. */
  check() {
    this.#lastUntil(this.#until);
  }

  stop() {
    this.#warning.stop();
    this.#deadline.stop();
  }

  #lastUntil(until) {
    this.#until = until;
    this.#patience = LATE;
    if (until !== Infinity) this.#longest = Math.max(this.#longest, until - this.#clock.now());
    if (this.#warnedOf !== null && until - this.#warnedOf > 1.5 * SECOND) this.#warnedOf = null;
    // As the server does: at most half the idle time-out ahead, or a short one would warn all the time.
    if (this.#warnedOf === null) this.#warning.at(until - Math.min(this.#warnBefore, this.#longest / 2));
    this.#deadline.at(until);
  }

  #warningDue() {
    if (!this.#hooks.isWatched()) this.warn(Math.ceil(this.expiresIn()));
  }

  #deadlineDue() {
    const certain = this.#until + LATE;
    if (!this.#hooks.isOurs() && this.#clock.now() < certain) return this.#deadline.at(certain);
    this.#patience = Math.min(2 * this.#patience, MINUTE);
    this.#deadline.after(this.#patience); // unless the answer moves it
    this.settle().catch(() => {}); // no answer: ask again then
  }

  #moment(seconds) {
    return seconds === null ? Infinity : this.#clock.now() + seconds * SECOND;
  }

  #secondsTo(moment) {
    return moment === Infinity ? null : Math.max(0, moment - this.#clock.now()) / SECOND;
  }
}

/** Whether it looks like a token: 32 bytes in base64url. */
function isToken(text) {
  return typeof text === "string" && /^[\w-]{43}$/.test(text);
}

/** What outlives this page: a header client's token, in an area like `sessionStorage`; `null`: nothing does. */
class Storage {
  #area;
  #key;
  #kept = null; // also where the area refuses: full, or forbidden by the browser

  constructor(area, key, now) {
    this.#area = area;
    this.#key = key;
    this.#kept = this.#read();
    if (this.#kept?.until != null && this.#kept.until <= now) this.#write(null);
  }

  /** The token as it is now: another tab may have another since. */
  get token() {
    return this.#read()?.token ?? null;
  }

  /** Keep a new token; of which session it is, is known when its facts are. */
  keep(token) {
    this.#write({ token, ref: null, until: null });
  }

  /** Note of which session a token is. */
  label(token, ref) {
    const kept = this.#read();
    if (kept && kept.token === token && kept.ref !== ref) this.#write({ token, ref, until: null });
  }

  /** Note until when (Unix milliseconds) the token of a session is good. */
  note(ref, until) {
    const kept = this.#read();
    if (kept && kept.ref === ref) this.#write({ ...kept, until: until === Infinity ? null : until });
  }

  /** Forget the token of a session; that of another one, or of nobody knows which, may be the next one's. */
  forget(ref) {
    if (this.#read()?.ref === ref) this.#write(null);
  }

  forgetToken(token) {
    if (this.token === token) this.#write(null);
  }

  #read() {
    if (!this.#area) return this.#kept;
    try {
      const kept = JSON.parse(this.#area.getItem(this.#key));
      return isToken(kept?.token) ? kept : null; // what somebody else has written there is none
    } catch {
      return this.#kept;
    }
  }

  #write(kept) {
    this.#kept = kept;
    try {
      if (kept) this.#area?.setItem(this.#key, JSON.stringify(kept));
      else this.#area?.removeItem(this.#key);
    } catch {
      this.#area = null; // this page goes on with what it has; the next one begins anew
    }
  }
}

/** The other tabs of this application: who hears first of an end, or of more time, tells them. */
class Channel {
  #channel;

  constructor(channel, heard) {
    this.#channel = channel;
    if (channel) channel.onmessage = ({ data }) => heard(data);
  }

  post(message) {
    this.#channel?.postMessage(message);
  }

  close() {
    this.#channel?.close();
    this.#channel = null;
  }
}

// --- HTTP ---------------------------------------------------------------------------------------------

/** Calls under `api.prefix`, and what every answer tells of the session. */
class Api {
  #fetch;
  #clock;
  #root;
  #origin;
  #here;
  #header;
  #isScheme;
  #storage;
  #session;

  constructor({ fetch, clock, base, prefix, header, window }, storage, session) {
    this.#fetch = fetch;
    this.#clock = clock;
    this.#root = new URL(prefix, base).href;
    this.#origin = new URL(this.#root).origin;
    this.#here = window.location?.href ?? base;
    this.#header = header;
    this.#isScheme = header.toLowerCase() === "authorization";
    this.#storage = storage;
    this.#session = session;
  }

  url(path, query = {}) {
    const url = new URL(this.#root + path);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    return url;
  }

  /** Make a call and return its answer's JSON. Throws `WshttpError`; `unreachable` where there was no answer. */
  async call(method, path, body) {
    const headers = body === undefined ? {} : { "Content-Type": "application/json" };
    const init = { method, headers, body: JSON.stringify(body), redirect: "error" }; // ours leads nowhere else
    return this.#inTime(async (signal) => {
      const { response, token } = await this.#exchange(this.url(path), { ...init, signal });
      if (!response.ok) throw await refusal(response);
      if (response.status === 204 || response.status === 202) return null;
      const answer = await response.json();
      if (answer?.ref) this.#storage.label(token, answer.ref);
      return answer;
    });
  }

  /** `fetch`, with the token where there is one and it goes to our own server, and an ear for what the answer says. */
  async fetch(input, init = {}) {
    return (await this.#exchange(input, init)).response;
  }

  /** Return the response, and the token that it is about: the one that was sent, or the one that came for it. */
  async #exchange(input, init) {
    const { ref } = this.#session;
    const url = new URL(input.url ?? input, this.#here);
    const token = this.#isOurs(url) ? this.#storage.token : null;
    const request = { ...init, headers: new Headers(init.headers ?? input.headers) };
    if (token !== null) this.#show(token, request, input);
    const response = await this.#fetch(input.url ? input : url.href, request);
    const isAnswered = this.#isOurs(url) && this.#isOurs(new URL(response.url || url)); // and not by whom it led to
    return { response, token: isAnswered ? await this.#learn(response, ref, token) : token };
  }

  /** Browsers take `Authorization`, and no other header, out of a request that is led to another origin. */
  #show(token, request, input) {
    request.headers.set(this.#header, this.#isScheme ? `Session ${token}` : token);
    const redirect = request.redirect ?? input.redirect ?? "follow";
    if (redirect === "follow" && !this.#isScheme) request.redirect = "error";
  }

  #isOurs(url) {
    return url.origin === this.#origin;
  }

  async #learn(response, ref, token) {
    const given = response.headers.get("Session-Token");
    if (given !== null) this.#storage.keep(given);
    const seconds = response.headers.get("Session-Expires-In");
    if (seconds !== null && this.#session.ref === ref) this.#session.prolong(Number(seconds));
    if (response.status === 401) await this.#learnEnd(response, ref, token);
    return given ?? token;
  }

  /** A token that was renewed is over, but its session is not: whoever renewed it has the new one. */
  async #learnEnd(response, ref, token) {
    const { code, reason } = await this.#inTime(() => refusal(response.clone())).catch((late) => late);
    if (code !== "session-ended" || reason === "renewed") return;
    if (token !== null) this.#storage.forgetToken(token);
    if (ref !== null && this.#session.ref === ref) this.#session.end(reason);
  }

  /** An answer is there when its body is: what comes in between may stall too. */
  async #inTime(call) {
    const abort = new AbortController();
    const late = deferred();
    const timer = new Timer(this.#clock, () => (abort.abort(), late.reject()));
    timer.after(OPEN_WITHIN);
    try {
      return await Promise.race([call(abort.signal), late.promise]);
    } catch (error) {
      throw error instanceof WshttpError ? error : unreachable();
    } finally {
      timer.stop();
    }
  }
}

function unreachable() {
  return new WshttpError("unreachable", "The server does not answer.");
}

/** Read a problem (RFC 9457) out of a response. */
async function refusal(response) {
  const problem = await response.json().catch(() => ({}));
  const code = String(problem.type ?? "").startsWith("urn:wshttp:") ? problem.type.slice(11) : "http";
  const detail = problem.detail ?? problem.title ?? `The server answered ${response.status}.`;
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  return new WshttpError(code, detail, { status: response.status, reason: problem.reason ?? null, retryAfter });
}

// --- the socket ---------------------------------------------------------------------------------------

/** What a WebSocket does, over server-sent events and POST: for networks that let nothing else through. */
class Stream {
  onmessage = null;
  onclose = null;

  #clock;
  #source;
  #post;
  #connection = null;
  #openedAt = 0;
  #ahead = 0;
  #sending = Promise.resolve();
  #again = null;

  /** `post` sends `{connection, message}` up. */
  constructor(clock, EventSource, url, post) {
    this.#clock = clock;
    this.#post = post;
    this.#source = new EventSource(url);
    this.#source.onmessage = (event) => this.#heard(event);
    this.#source.onerror = () => this.#over(LOST, ""); // it would come back by itself, with a ticket that is used up
  }

  get isFull() {
    return this.#ahead >= POSTS_AHEAD;
  }

  /** Send after all that was sent before: requests of their own may overtake each other. */
  send(text) {
    const body = { connection: this.#connection, message: JSON.parse(text) };
    this.#ahead += 1;
    this.#sending = this.#sending.then(() => this.#up(body)).then(() => (this.#ahead -= 1));
  }

  close() {
    this.#source?.close();
    this.#source = null;
    this.#again?.stop();
  }

  async #up(body) {
    if (!this.#source) return;
    // Behind a load balancer another node gets it, and may not have heard of the connection yet.
    const isEarly = this.#clock.now() - this.#openedAt < SECOND;
    try {
      await this.#post(body);
    } catch (error) {
      const isBusy = error.code === "too-many-requests"; // with what came before
      if (!isBusy && !(error.status === 404 && isEarly)) return this.#unsent(error, body.message);
      await this.#pause(isBusy ? (error.retryAfter ?? 1) * SECOND : SECOND);
      await this.#up(body);
    }
  }

  #pause(delay) {
    return new Promise((resolve) => {
      this.#again = new Timer(this.#clock, resolve);
      this.#again.after(delay);
    });
  }

  /** A message that cannot be read is refused as on a WebSocket, and the stream lives on. */
  #unsent({ status, code, message: detail }, { id }) {
    if (status === 400) this.onmessage?.({ data: JSON.stringify({ type: "error", id, code, detail }) });
    else this.#over(status === 413 ? TOO_BIG : LOST, "");
  }

  #heard(event) {
    const message = parsed(event.data);
    if (message?.type === "closed") return this.#over(message.code, message.reason);
    if (message?.type === "welcome") {
      this.#connection = message.connection;
      this.#openedAt = this.#clock.now();
    }
    this.onmessage?.(event);
  }

  #over(code, reason) {
    if (!this.#source) return;
    this.close();
    this.onclose?.({ code, reason });
  }
}

/** Return an envelope, or `null` for what is none. */
function parsed(text) {
  try {
    const message = JSON.parse(text);
    return typeof message?.type === "string" ? message : null;
  } catch {
    return null;
  }
}

/** One connection that stays: it comes back until it is told not to.
 *
 *             open()             welcome           lost               in time, or woken
 *     closed ───────▶ connecting ───────▶ open ─────────▶ waiting ─────────────────▶ connecting …
 *
 *     from each of them: stop(), and codes and refusals after which nobody comes back, to closed
 */
class Socket {
  state = "closed";
  via = null; // "websocket" or "stream"
  why = null; // in words, why it is not open
  connection = null; // its name on the server
  offers = {};

  #clock;
  #hooks;
  #backoff;
  #staleAfter;
  #line = null; // the transport in use, or on its way
  #rival = null; // a WebSocket that is tried while the stream goes on
  #attempt = null; // what waits for the outcome of the one that is on its way
  #failures = 0; // of opening a WebSocket, in a row, while the server answered otherwise
  #heardAt = 0;
  #pinged = false;
  #retry;
  #notBefore = 0;
  #cameBackAt = -Infinity; // at once: once a second at most
  #pulse;
  #websocketAgain;

  /** `hooks`: `dial(via)` makes a transport, `examine` asks why that failed; `state`, `closed`, `received` are told. */
  constructor({ clock, random, staleAfter }, hooks) {
    this.#clock = clock;
    this.#hooks = hooks;
    this.#staleAfter = staleAfter;
    this.#backoff = new Backoff(random);
    this.#retry = new Timer(clock, () => this.#connect());
    this.#pulse = new Timer(clock, () => this.#checkPulse());
    this.#websocketAgain = new Timer(clock, () => this.#tryWebSocket());
  }

  /** Open it now, unless it is open or on its way. */
  open() {
    if (this.state === "open" || this.state === "connecting") return;
    this.#notBefore = 0;
    this.#connect();
  }

  /** Open it anew, as whoever this page is now. */
  reopen() {
    this.#drop();
    this.state = "closed";
    this.open();
  }

  /** Close it for good: until `open`. */
  stop(code, why = explain(code).text) {
    const wasOpen = this.state === "open";
    if (this.state === "closed") return;
    this.#drop();
    this.#websocketAgain.stop();
    Object.assign(this, { state: "closed", why });
    if (wasOpen) this.#hooks.closed({ code, reason: explain(code).reason, why, again: false });
    if (this.state === "closed") this.#become("closed", why); // else a listener has decided otherwise
  }

  /** Seconds until the next attempt; `null` where none is waited for. */
  retryIn() {
    return this.state === "waiting" ? Math.max(0, this.#retry.due - this.#clock.now()) / SECOND : null;
  }

  /** Wait until it is known what became of an attempt that is on its way now. */
  async settled() {
    await this.#attempt?.promise;
  }

  /** Whether a message may go out now: it is open, and not busy with what was sent before. */
  get hasRoom() {
    if (this.state !== "open") return false;
    const { transport } = this.#line;
    return !(transport.isFull ?? transport.bufferedAmount > BUFFERED);
  }

  /** Send a message now; tell whether it went out. */
  send(message) {
    if (this.state !== "open") return false;
    this.#line.transport.send(JSON.stringify(message));
    return true;
  }

  /** Somebody looks at the page again, or the network is back: wait no longer, and trust less. */
  wake() {
    if (this.state === "waiting" && this.#clock.now() >= this.#notBefore) this.#connect();
    else if (this.state === "open" && this.#silence() >= WAKEFUL) this.#ping();
    for (const timer of [this.#retry, this.#pulse, this.#websocketAgain]) timer.check();
  }

  // --- opening

  #connect() {
    this.#retry.stop();
    this.#attempt?.resolve();
    this.#attempt = deferred();
    const canStream = this.#hooks.canStream();
    const via = canStream && this.#failures >= FAILURES_BEFORE_STREAM ? "stream" : "websocket";
    this.#line = this.#dial(via);
    this.#become("connecting", this.why);
  }

  #tryWebSocket() {
    this.#failures = 0; // if the stream is lost by now, a WebSocket is tried first anyway
    if (this.state === "open" && this.via === "stream") this.#rival = this.#dial("websocket");
  }

  #dial(via) {
    const line = this.#lineOf(via, () => this.#closed(line, LOST, ""));
    this.#hooks.dial(via).then(
      (transport) => this.#bind(line, transport),
      (error) => this.#refused(line, error),
    );
    return line;
  }

  /** Nothing is waited for without an end. */
  #lineOf(via, late) {
    const patience = new Timer(this.#clock, late);
    patience.after(OPEN_WITHIN);
    return { via, transport: null, openedAt: null, patience };
  }

  #bind(line, transport) {
    if (!this.#isCurrent(line)) return transport.close(1000, "bye");
    line.transport = transport;
    transport.onmessage = ({ data }) => this.#isCurrent(line) && this.#heard(line, parsed(data));
    transport.onclose = ({ code, reason }) => this.#isCurrent(line) && this.#closed(line, code, reason);
  }

  #isCurrent(line) {
    return line === this.#line || line === this.#rival;
  }

  #heard(line, message) {
    this.#heardAt = this.#clock.now();
    this.#pinged = false;
    if (message === null) return;
    if (message.type === "welcome") this.#opened(line, message);
    if (line === this.#line) this.#hooks.received(message);
  }

  #opened(line, welcome) {
    if (line === this.#rival) this.#changeOver(line);
    line.patience.stop();
    line.openedAt = this.#heardAt;
    this.via = line.via;
    this.connection = welcome.connection;
    this.offers = welcome.offers ?? {};
    if (line.via === "websocket") this.#failures = 0;
    else this.#websocketAgain.after(WEBSOCKET_AGAIN);
    this.#pulse.after(this.#staleAfter);
    this.#become("open", null);
  }

  #changeOver(line) {
    this.#rival = null;
    this.#drop();
    this.#line = line;
  }

  // --- closing, and coming back

  #closed(line, code, reason) {
    if (line === this.#rival) return this.#lostRival();
    const wasOpen = line.openedAt !== null;
    if (wasOpen && this.#clock.now() - line.openedAt >= STOOD) this.#backoff.reset();
    this.#drop();
    if (wasOpen) this.state = "waiting";
    const { again, text } = explain(code, reason);
    if (wasOpen) this.#hooks.closed({ code, reason, why: text, again: again !== "never" });
    if (this.#line !== null || this.state === "closed") return; // a listener has decided otherwise
    if (again === "never") this.#become("closed", text);
    else if (wasOpen || code !== LOST) this.#comeBack(again, text);
    else this.#findOut(line);
  }

  #lostRival() {
    this.#release(this.#rival);
    this.#rival = null;
    this.#failures = FAILURES_BEFORE_STREAM;
    this.#websocketAgain.after(WEBSOCKET_AGAIN);
  }

  #comeBack(again, why) {
    const now = this.#clock.now();
    if (again === "at once" && now - this.#cameBackAt >= SECOND) {
      this.#cameBackAt = now;
      this.why = why;
      return this.#connect();
    }
    this.#wait(this.#backoff.next(again === "later" ? LATER : 0), why);
  }

  #wait(delay, why) {
    this.#retry.after(delay);
    this.#become("waiting", why);
  }

  /** A browser does not tell why a socket did not open: ask over HTTP. */
  async #findOut(line) {
    const nobody = (this.#line = this.#lineOf(line.via, () => this.#refused(nobody, unreachable())));
    try {
      await this.#hooks.examine();
    } catch (error) {
      return this.#refused(nobody, error);
    }
    if (!this.#isCurrent(nobody)) return;
    this.#drop();
    this.#failures = line.via === "websocket" ? this.#failures + 1 : 0;
    this.#wait(this.#backoff.next(), "The server does not open a connection for this page.");
  }

  /** What was asked before or after a connection was tried has been refused. */
  #refused(line, error) {
    if (!this.#isCurrent(line)) return;
    if (line === this.#rival) return this.#lostRival();
    this.#drop();
    const { code, reason, retryAfter, message } = error;
    if (code === "forbidden" || code === "bad-credentials") return this.#become("closed", message);
    if (code === "session-ended" && reason !== "renewed") return this.#become("closed", "There is no session.");
    // Whom it sent away at the same moment must not come back at the same moment.
    const delay = (retryAfter ?? 0) * SECOND + this.#backoff.next(retryAfter ? LATER : 0);
    this.#notBefore = retryAfter ? this.#clock.now() + delay : 0;
    this.#wait(delay, message);
  }

  #drop() {
    for (const line of [this.#line, this.#rival]) this.#release(line);
    this.#line = this.#rival = null;
    this.#retry.stop();
    this.#pulse.stop();
    this.connection = null;
  }

  #release(line) {
    line?.patience?.stop();
    line?.transport?.close(1000, "bye"); // what it says after this is nobody's: see #isCurrent
  }

  #become(state, why) {
    this.state = state;
    this.why = why;
    if (state !== "open") this.via = null;
    if (state !== "connecting") this.#attempt?.resolve();
    this.#hooks.state({ state, why });
  }

  // --- is anybody there?

  #silence() {
    return this.#clock.now() - this.#heardAt;
  }

  /** Browsers do not tell scripts of the server's pings, so a silent server is asked for a sign of life. */
  #checkPulse() {
    const silence = this.#silence();
    if (this.#pinged) this.#closed(this.#line, LOST, "");
    else if (silence < this.#staleAfter) this.#pulse.after(this.#staleAfter - silence);
    else this.#ping();
  }

  #ping() {
    if (!this.offers.ping || this.#pinged) return;
    this.#pinged = true;
    this.send({ type: "ping" });
    this.#pulse.after(PONG_WITHIN);
  }
}

// --- what is said over it -----------------------------------------------------------------------------

/** What was asked and not yet answered, and what waits until it can be. */
class Calls {
  #clock;
  #limit;
  #socket;
  #sent = new Map();
  #waiting = [];
  #lastId = 0;

  /** `limit`: how many may wait. */
  constructor(clock, limit, socket) {
    this.#clock = clock;
    this.#limit = limit;
    this.#socket = socket;
  }

  /** Send a message; the promise is for the answer. With `wait` it may wait for a connection, and for room on it. */
  make(message, { timeout = null, wait = true } = {}) {
    const call = { ...deferred(), message: { ...message, id: ++this.#lastId }, timeout, timer: null };
    call.timer = new Timer(this.#clock, () => this.#giveUp(call));
    if (timeout !== null) call.timer.after(timeout);
    const mayGo = !wait || (this.#waiting.length === 0 && this.#socket.hasRoom);
    if (!mayGo || !this.#dispatch(call)) this.#hold(call, wait);
    return call.promise;
  }

  answered(message) {
    const call = this.#sent.get(message.id);
    if (!call) return false;
    this.#sent.delete(message.id);
    call.timer.stop();
    if (message.type === "ok") call.resolve(message);
    else call.reject(new WshttpError(message.code, message.detail));
    this.flush();
    return true;
  }

  /** There is room: send what has waited, in order. */
  flush() {
    while (this.#waiting.length && this.#socket.hasRoom) this.#dispatch(this.#waiting.shift());
  }

  /** The connection is gone: whether what was sent has arrived, nobody knows, so it is not sent again. */
  lost() {
    const error = new WshttpError("connection-lost", "The connection was lost before the answer came.");
    for (const call of this.#sent.values()) this.#fail(call, error);
    this.#sent.clear();
  }

  /** There will be no connection, or not for those who asked. */
  abandon(why) {
    this.lost();
    for (const call of this.#waiting.splice(0)) this.#fail(call, new WshttpError("closed", why));
  }

  #dispatch(call) {
    this.#sent.set(call.message.id, call);
    if (call.timeout === null) call.timer.after(ANSWER_WITHIN);
    const isSent = this.#socket.send(call.message);
    if (!isSent) this.#sent.delete(call.message.id);
    return isSent;
  }

  #hold(call, wait) {
    if (!wait) this.#fail(call, new WshttpError("connection-lost", "There is no connection."));
    else if (this.#waiting.length < this.#limit) this.#waiting.push(call);
    else this.#fail(call, new WshttpError("queue-full", `${this.#limit} messages wait already.`));
  }

  #giveUp(call) {
    this.#sent.delete(call.message.id);
    this.#waiting = this.#waiting.filter((each) => each !== call);
    this.#fail(call, new WshttpError("timeout", "No answer came in time."));
    this.flush();
  }

  #fail(call, error) {
    call.timer.stop();
    call.reject(error);
  }
}

/** How far a topic's history has been heard: without a gap up to `offset`, and what came ahead of that. */
class Position {
  life = null;
  offset = 0;
  #ahead = new Set();
  #before = null; // the place in the life before this one

  /** Tell whether a message is new, and note it. */
  takes(life, offset) {
    if (life === undefined) return true; // the topic has no history
    if (life === this.#before?.life) return this.#before.takes(life, offset); // late: the place is not there any more
    if (life !== this.life) this.moveTo(life, 0);
    if (offset <= this.offset || this.#ahead.has(offset)) return false;
    this.#ahead.add(offset);
    // What never comes, since it was not for this client, must not hold up the rest for ever.
    if (this.#ahead.size > OFFSETS_AHEAD) this.offset = Math.min(...this.#ahead) - 1;
    this.#closeUp();
    return true;
  }

  /** All up to `offset` of a history has been heard, or is gone. */
  moveTo(life, offset) {
    if (life !== this.life) this.#leave();
    this.offset = Math.max(this.offset, offset);
    this.life = life;
    for (const each of this.#ahead) if (each <= this.offset) this.#ahead.delete(each);
    this.#closeUp();
  }

  /** Whether something before the last message has not come. */
  get hasGap() {
    return this.#ahead.size > 0;
  }

  /** From where to go on; `undefined`: from now. */
  get after() {
    return this.life === null ? undefined : { life: this.life, offset: this.offset };
  }

  #leave() {
    const { life, offset } = this;
    this.#before = Object.assign(new Position(), { life, offset });
    this.#before.#ahead = this.#ahead;
    this.offset = 0;
    this.#ahead = new Set();
  }

  #closeUp() {
    while (this.#ahead.delete(this.offset + 1)) this.offset += 1;
  }
}

/** Return the place that an `after` means; `null` for none: from now. */
function placeOf(after) {
  if (after === "beginning") return BEGINNING;
  if (typeof after === "string") throw new TypeError(`after is a place, or "beginning"; got "${after}"`);
  return after ?? null;
}

/** The topics that this page wants to be in: joined on every connection, until they are left or refused. */
class Topics {
  #topics = new Map();
  #clock;
  #ask;
  #emit;

  /** `ask` sends a message and returns its answer, at once or not at all. */
  constructor(clock, ask, emit) {
    this.#clock = clock;
    this.#ask = ask;
    this.#emit = emit;
  }

  /** Join a topic; the promise is for its members. */
  add(name, listener, after) {
    const place = placeOf(after);
    let topic = this.#topics.get(name);
    if (topic) {
      topic.listeners.add(listener);
      return topic.entered.promise;
    }
    topic = { name, listeners: new Set([listener]), position: new Position(), members: new Map(), entered: deferred() };
    topic.isEntered = false;
    topic.again = new Timer(this.#clock, () => this.#joinAgain(topic));
    if (place) topic.position.moveTo(place.life, place.offset);
    this.#topics.set(name, topic);
    this.#join(topic);
    return topic.entered.promise;
  }

  /** Take out a listener, or all; tell whether the topic is to be left. */
  remove(name, listener) {
    const topic = this.#topics.get(name);
    if (!topic) return false;
    topic.listeners.delete(listener);
    if (listener && topic.listeners.size) return false;
    this.#forget(topic);
    topic.entered.resolve([]);
    return true;
  }

  members(name) {
    return [...(this.#topics.get(name)?.members.values() ?? [])];
  }

  joinAll() {
    for (const topic of this.#topics.values()) this.#join(topic);
  }

  message(message) {
    const topic = this.#topics.get(message.topic);
    if (!topic?.position.takes(message.life, message.offset)) return;
    // Dropped since this page was slow, or lost between the server's nodes: the history may still have it.
    if (topic.position.hasGap && topic.again.due === null) topic.again.after(MISSING_FOR);
    this.#emit("message", message);
    for (const listener of [...topic.listeners]) guarded(listener, message.data, message);
  }

  presence({ topic: name, members }) {
    const topic = this.#topics.get(name);
    if (!topic) return;
    topic.members = new Map(members.map((member) => [member.ref, member]));
    this.#emit("presence", { topic: name, members });
  }

  joined({ topic: name, member }) {
    const members = this.#topics.get(name)?.members;
    if (!members) return;
    members.set(member.ref, { ...members.get(member.ref), ...member });
    this.#emit("joined", { topic: name, member });
  }

  left({ topic: name, member }) {
    if (this.#topics.get(name)?.members.delete(member.ref)) this.#emit("left", { topic: name, member });
  }

  resumed({ topic: name, life, offset, whole }) {
    const topic = this.#topics.get(name);
    if (!topic) return;
    topic.position.moveTo(life, offset);
    const isWhole = whole || topic.isFromBeginning; // what is kept is what was asked for
    this.#emit("resumed", { topic: name, life, offset, whole: isWhole });
    if (!isWhole) this.#emit("gap", { topic: name, missed: null });
  }

  #joinAgain(topic) {
    if (!topic.isEntered || topic.position.hasGap) this.#join(topic);
  }

  async #join(topic) {
    topic.isFromBeginning = topic.position.life === BEGINNING.life;
    try {
      await this.#ask({ type: "subscribe", topic: topic.name, after: topic.position.after });
      topic.isEntered = true;
      topic.entered.resolve(this.members(topic.name));
    } catch (error) {
      this.#notJoined(topic, error);
    }
  }

  #notJoined(topic, error) {
    if (this.#topics.get(topic.name) !== topic || error.code === "connection-lost") return; // the next connection joins
    if (error.code === "store-unavailable" || error.code === "timeout") return topic.again.after(JOIN_AGAIN);
    this.#forget(topic);
    if (topic.isEntered) this.#emit("error", error);
    else topic.entered.reject(error);
  }

  #forget(topic) {
    topic.again.stop();
    this.#topics.delete(topic.name);
  }
}

// --- all together ---------------------------------------------------------------------------------------

const REMEMBER = { nothing: "header", tab: "header", browser: "header", cookie: "cookie" };

/** The wall clock: it goes on while the computer sleeps, as the server's does. */
const CLOCK = {
  now: () => Date.now(),
  setTimeout: (call, delay) => setTimeout(call, delay),
  clearTimeout: (handle) => clearTimeout(handle),
};

/** Return all options, with what this browser has where none is given. Throws `TypeError` for what does not fit. */
function settled(given) {
  const options = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  const { window = globalThis } = options;
  const remember = options.remember ?? (options.identity === "header" ? "nothing" : "cookie");
  const identity = options.identity ?? REMEMBER[remember];
  if (!(remember in REMEMBER)) throw new TypeError(`remember is one of ${Object.keys(REMEMBER).join(", ")}`);
  if (identity !== REMEMBER[remember]) throw new TypeError(`identity ${identity} does not go with remember ${remember}`);
  const application = options.application ?? "wshttp";
  return {
    window,
    base: window.location?.origin,
    prefix: "/wshttp",
    header: "Authorization",
    queue: 100,
    WebSocket: window.WebSocket,
    EventSource: window.EventSource,
    fetch: window.fetch?.bind(window),
    storage: storageOf(window, remember),
    channel: window.BroadcastChannel && !("channel" in options) ? new window.BroadcastChannel(application) : null,
    clock: CLOCK,
    random: Math.random,
    socket: true,
    endOnLeave: false,
    ...options,
    application,
    remember,
    identity,
    warnBefore: (options.warnBefore ?? 60) * SECOND,
    staleAfter: (options.staleAfter ?? 45) * SECOND,
    timeout: (options.timeout ?? 10) * SECOND,
  };
}

/** Return where this browser keeps things; `null` where it has, or allows, nothing of that kind. */
function storageOf(window, remember) {
  try {
    if (remember === "tab") return window.sessionStorage ?? null;
    if (remember === "browser") return window.localStorage ?? null;
  } catch {
    // A browser may refuse even to look.
  }
  return null;
}

class Client {
  #options;
  #events = new Events();
  #storage;
  #channel;
  #api;
  #calls;
  #topics;
  #shown = null; // the token for which the last ticket was given: it is of the session that the welcome tells
  #entering = null; // a start or log-in under way: what comes back meanwhile comes with the new token
  #stopListening = [];

  constructor(options) {
    this.#options = options = settled(options);
    const { clock, application, remember } = options;
    const area = remember === "tab" || remember === "browser" ? options.storage : null;
    this.#storage = new Storage(area, `${application}:session`, clock.now());
    this.#channel = new Channel(options.channel, (message) => this.#heardOfTab(message));
    this.session = new Session(clock, options.warnBefore, this.#sessionHooks());
    this.#api = new Api(options, this.#storage, this.session);
    this.socket = new Socket(options, this.#socketHooks());
    this.#calls = new Calls(clock, options.queue, this.socket);
    this.#topics = new Topics(clock, (message) => this.#calls.make(message, { wait: false }), this.#emit);
    this.#listen(options.window);
    if (options.socket) this.socket.open();
  }

  /** Call `listener` for every event of this name, one of `EVENTS`; return what stops that. */
  on(name, listener) {
    return this.#events.on(name, listener);
  }

  // --- the session

  /** Start a session, or take the one there is, and open the socket. */
  start() {
    return this.#enter(() => this.#api.call("POST", "/session"));
  }

  /** Log in, and come back as that user. */
  login(user, password) {
    return this.#enter(() => this.#api.call("POST", "/login", { user, password }));
  }

  /** Keep the session alive. */
  touch() {
    return this.#told(this.#learn(this.#api.call("POST", "/session/touch")));
  }

  /** End the session, in all tabs: log out. */
  endSession() {
    return this.#told(this.#end());
  }

  /** `fetch`, as this session: with the token of a header client, and with an ear for what the answer says of it. */
  fetch(input, init) {
    return this.#api.fetch(input, init);
  }

  // --- the socket

  /** Be in a topic, now and whenever it comes back: `listener(data, message)`. Resolves with the members. */
  subscribe(topic, listener, { after } = {}) {
    return this.#told(this.#topics.add(topic, listener, after));
  }

  /** Take a listener out of a topic, or all; the last one leaves it. */
  unsubscribe(topic, listener) {
    if (this.#topics.remove(topic, listener)) this.#calls.make({ type: "unsubscribe", topic }, { wait: false });
  }

  /** Publish on a topic. Resolves with how many received it. */
  publish(topic, data) {
    return this.#told(this.#say({ type: "publish", topic, data }).then((answer) => answer.receivers));
  }

  /** Send something to the application. Resolves when it has been handled. */
  send(data) {
    return this.#told(this.#say({ type: "app", data }).then(() => undefined));
  }

  /** Ask the application something. Resolves with what it answers; `timeout` is in seconds. */
  request(data, { timeout = this.#options.timeout / SECOND } = {}) {
    const options = { timeout: timeout * SECOND };
    return this.#told(this.#say({ type: "app", data }, options).then((answer) => answer.data));
  }

  /** Who is in a topic, as far as is known here. */
  members(topic) {
    return this.#topics.members(topic);
  }

  /** Close everything for good. The session lives on. */
  close() {
    this.socket.stop(1000, "This page closed the connection.");
    this.session.stop();
    this.#channel.close();
    for (const stop of this.#stopListening.splice(0)) stop();
  }

  // --- what happens to the session

  #emit = (name, detail) => this.#events.emit(name, detail);

  #sessionHooks() {
    return {
      changed: () => {
        this.#storage.note(this.session.ref, this.session.until);
        this.#emit("session", this.session);
      },
      prolonged: (ref, until) => {
        this.#storage.note(ref, until);
        this.#channel.post({ type: "prolonged", ref, until: until === Infinity ? null : until });
      },
      expiring: (seconds) => this.#emit("expiring", { seconds }),
      ended: (end) => this.#ended(end),
      isWatched: () => this.socket.state === "open", // the server will say it, and knows better
      isOurs: () => this.#storage.token !== null && this.socket.state !== "open",
      ask: () => this.#learn(this.#api.call("GET", "/session?touch=0")),
    };
  }

  #ended(end) {
    this.#storage.forget(end.ref);
    if (end.reason !== null) this.#channel.post({ type: "ended", ref: end.ref, reason: end.reason });
    this.#calls.abandon(end.text); // what waits was said by whoever this was
    this.#emit("ended", end);
    this.#emit("session", this.session);
    const code = codeOfEnd(end.reason);
    if (code !== null) this.socket.stop(code);
  }

  /** Other scripts of this origin may say what they like on the channel. */
  #heardOfTab(message) {
    const { type, ref, until, reason } = message ?? {};
    if (ref !== this.session.ref) return;
    if (type === "prolonged" && (until === null || Number.isFinite(until))) this.session.prolongedElsewhere(until);
    if (type === "ended" && typeof reason === "string") this.session.end(reason);
  }

  /** Take an answer that was asked for just now, unless this page is somebody else when it comes. */
  async #learn(answer) {
    const { turns } = this.session;
    const facts = await answer;
    if (this.session.turns === turns) this.session.learn(facts);
    return this.session;
  }

  #enter(call) {
    const before = [this.#entering, this.socket.settled()]; // not what comes later: that waits for this
    const entering = this.#entered(call, before);
    this.#entering = entering.catch(() => {});
    return this.#told(entering);
  }

  /** One after the other, and none beside a socket that may start a session too: there would be two. */
  async #entered(call, [entered, settled]) {
    await entered;
    if (this.session.ref === null) await settled;
    const { ref } = this.session;
    const facts = await call();
    if (facts.ref !== this.session.ref) this.session.forget();
    this.session.learn(facts);
    if (this.#options.socket && facts.ref !== ref) this.socket.reopen();
    else if (this.#options.socket) this.socket.open(); // if open, it is the server that closes it, with 4000
    return this.session;
  }

  async #end() {
    const { ref } = this.session;
    try {
      await this.#api.call("DELETE", "/session");
    } catch (error) {
      if (error.code !== "session-ended") throw error;
    }
    if (this.session.ref === ref) this.session.end("logout");
  }

  // --- what happens to the socket

  #socketHooks() {
    return {
      dial: (via) => this.#dial(via),
      examine: () => this.#examine(),
      canStream: () => Boolean(this.#options.EventSource) && this.socket.offers.stream !== false,
      state: ({ state, why }) => {
        if (state === "closed") this.#calls.abandon(why);
        this.#emit("state", { state, via: this.socket.via, why });
      },
      closed: (event) => this.#closed(event),
      received: (message) => Object.hasOwn(this.#received, message.type) && this.#received[message.type](message),
    };
  }

  async #dial(via) {
    await this.#entering;
    await this.session.settle(); // or a server that starts sessions by itself would quietly start another
    if (this.socket.state === "closed") throw new WshttpError("closed", this.socket.why);
    const showsTicket = this.#options.identity === "header" || this.#storage.token !== null;
    const query = showsTicket ? { ticket: await this.#ticket() } : {};
    if (via === "stream") {
      const url = this.#api.url("/stream", query).href;
      const { clock, EventSource } = this.#options;
      return new Stream(clock, EventSource, url, (body) => this.#api.call("POST", "/send", body));
    }
    const url = this.#api.url("/socket", query).href.replace(/^http/, "ws");
    return new this.#options.WebSocket(url, SUBPROTOCOL);
  }

  /** Browsers send no header with a handshake, so a header client shows a ticket. */
  async #ticket() {
    if (this.#storage.token !== null) {
      try {
        return await this.#askTicket();
      } catch (error) {
        const isOver = error.code === "session-ended" && this.#storage.token === null;
        if (!isOver || this.socket.state === "closed") throw error; // else the server has forgotten it: begin anew
      }
    }
    await this.#learn(this.#api.call("GET", "/session"));
    return this.#askTicket();
  }

  async #askTicket() {
    this.#shown = this.#storage.token;
    return (await this.#api.call("POST", "/ticket")).ticket;
  }

  /** Ask over HTTP what may be wrong with the socket; a session is started as the socket would have done. */
  async #examine() {
    if (this.session.ref !== null) {
      try {
        return await this.#learn(this.#api.call("GET", "/session?touch=0"));
      } catch (error) {
        if (this.session.ref !== null || this.socket.state === "closed") throw error;
      }
    }
    return this.#learn(this.#api.call("GET", "/session"));
  }

  #closed(event) {
    this.#calls.lost();
    this.session.check(); // from now on this page watches the clock itself
    this.#emit("close", event);
  }

  #received = {
    welcome: (welcome) => {
      if (welcome.session) this.#storage.label(this.#shown, welcome.session.ref);
      this.session.learn(welcome.session);
      this.#calls.lost(); // where a WebSocket took over from a stream
      this.#topics.joinAll();
      this.#calls.flush();
      this.#emit("open", { connection: welcome.connection, via: this.socket.via, offers: this.socket.offers });
    },
    session: ({ session }) => this.session.learn(session),
    expiring: ({ seconds }) => {
      this.session.prolong(seconds);
      this.session.warn(seconds);
    },
    ended: ({ reason }) => this.session.end(reason),
    message: (message) => this.#topics.message(message),
    presence: (message) => this.#topics.presence(message),
    joined: (message) => this.#topics.joined(message),
    left: (message) => this.#topics.left(message),
    resumed: (message) => this.#topics.resumed(message),
    app: ({ data, queued = false }) => this.#emit("message", { topic: null, data, from: null, queued }),
    queue: ({ dropped }) => this.#emit("gap", { topic: null, missed: dropped }),
    ok: (message) => {
      if (message.expires_in !== undefined) this.session.prolong(message.expires_in);
      this.#calls.answered(message);
    },
    error: (message) => {
      if (!this.#calls.answered(message)) this.#emit("error", new WshttpError(message.code, message.detail));
    },
  };

  #say(message, options) {
    if (this.socket.state !== "closed") return this.#calls.make(message, options);
    return Promise.reject(new WshttpError("closed", this.socket.why ?? "There is no connection."));
  }

  /** Tell of a failure by the event `error` too, so that nobody has to look at the promise. */
  #told(promise) {
    promise.catch((error) => this.#emit("error", error));
    return promise;
  }

  // --- what happens to the page

  #listen(window) {
    const wake = () => {
      this.session.check();
      this.socket.wake();
    };
    const look = () => window.document.visibilityState === "visible" && wake();
    this.#hear(window.document, "visibilitychange", look);
    this.#hear(window, "online", wake);
    this.#hear(window, "pageshow", ({ persisted }) => persisted && wake());
    if (this.#options.endOnLeave) this.#hear(window, "pagehide", ({ persisted }) => persisted || this.#leave());
  }

  #hear(target, name, listener) {
    if (!target?.addEventListener) return; // not in a page
    target.addEventListener(name, listener);
    this.#stopListening.push(() => target.removeEventListener(name, listener));
  }

  #leave() {
    if (this.session.ref === null) return;
    const init = { method: "DELETE", keepalive: true, redirect: "error" };
    this.#api.fetch(this.#api.url("/session"), init).catch(() => {});
  }
}
