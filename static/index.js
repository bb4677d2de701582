// The tour: everything on this page is what the client tells, and what the visitor does with it.

import { Network } from "./network.js";

const PREFIX = document.documentElement.dataset.api;
const { connect } = await import(`${PREFIX}/wshttp.js`); // a page that knows its prefix imports it by name
const KEPT_MESSAGES = 200;
const KEPT_LINES = 100;
const DROPPED_FOR = 5; // seconds
const HUES = 6;
const TRANSPORTS = { websocket: "WebSocket", stream: "server-sent events" };
const TITLE = document.title;

const network = new Network();
const { fetch, WebSocket, EventSource } = network;
const client = connect({ prefix: PREFIX, fetch, WebSocket, EventSource });

const element = (id) => document.getElementById(id);
const show = (id, text) => void (element(id).textContent = text ?? "–");

/** Make an element with text in it. */
function made(name, text, data = {}) {
  const node = document.createElement(name);
  Object.assign(node.dataset, data);
  node.append(text);
  return node;
}

/** Add to a list that keeps so many, and stay at its end unless somebody reads further up. */
function add(list, item, most) {
  const box = list.parentElement;
  const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  list.append(item);
  while (list.children.length > most) list.firstElementChild.remove();
  if (isAtEnd) box.scrollTop = box.scrollHeight;
}

function inWords(seconds) {
  const whole = Math.ceil(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

function howOften(times) {
  return ["never", "once", "twice"][times] ?? `${times} times`;
}

// --- what is told to the visitor ------------------------------------------------------------------------

/** What wants attention, the most urgent first: only that is shown. */
const notices = { connection: null, warning: null, message: null, problem: null };

function notice(kind, text, button = null) {
  notices[kind] = text && { text, button };
  const urgent = notices.connection ?? notices.warning ?? notices.message ?? notices.problem;
  if (element("banner-text").textContent !== (urgent?.text ?? "")) show("banner-text", urgent?.text ?? "");
  if (!urgent?.button && document.activeElement === element("banner-button")) element("stay").focus();
  element("banner-button").hidden = !urgent?.button;
  element("banner-button").textContent = urgent?.button?.label ?? "";
  element("banner-button").onclick = urgent?.button?.act ?? null;
  element("banner").hidden = !urgent;
}

let lastTold = null;

function tell(text) {
  if (text === lastTold) return; // each attempt in vain, for one
  lastTold = text;
  const item = made("li", text);
  item.prepend(made("time", new Date().toLocaleTimeString()), " ");
  add(element("log"), item, KEPT_LINES);
}

/** Tick off what the visitor has seen. A reload keeps it, a new tab begins anew. */
function seen(step) {
  const item = document.querySelector(`[data-step="${step}"]`);
  if (item.dataset.seen) return;
  item.dataset.seen = "yes";
  item.prepend(made("span", "Done: "));
  item.firstChild.className = "unseen";
  remember(step);
}

function remember(step) {
  try {
    sessionStorage.setItem(`tour:${step}`, "seen");
  } catch {
    // A browser that keeps nothing forgets this, too.
  }
}

function recall() {
  try {
    for (const { dataset } of element("tour").children) if (sessionStorage.getItem(`tour:${dataset.step}`)) seen(dataset.step);
  } catch {
    // The same.
  }
}

// --- the session ----------------------------------------------------------------------------------------

let shown = { ref: null, user: null, connections: 0 }; // what the page showed last
let longest = 1; // seconds that were left of this session at any time
let warnedAt = null; // with so many seconds left

function showSession(session) {
  const { ref, user, roles, connections, identity, createdAt } = session;
  const isThere = ref !== null;
  show("ref", ref);
  show("user", isThere ? user ?? "anonymous" : null);
  show("roles", roles.join(", ") || null);
  show("connections", isThere ? connections : null);
  show("identity", identity);
  show("created", createdAt?.toLocaleTimeString());
  element("stay").disabled = element("end").disabled = !isThere;
  element("end").textContent = user ? "Log out" : "End session";
  tellChanges(session);
  if (ref !== shown.ref) begin();
  shown = { ref, user, connections };
  showLogin();
  showMembers();
  showCountdown();
}

/** It is another session, or none: what was shown of the one before is over. */
function begin() {
  longest = 1;
  showCounter(0);
}

function tellChanges({ ref, user, connections, createdAt }) {
  if (ref === null) return;
  if (ref !== shown.ref) tell(`This page has a session, begun at ${createdAt.toLocaleTimeString()}.`);
  else if (user && user !== shown.user) tell(`Logged in as ${user}: the same session, with a new token.`);
  else if (connections && shown.connections && connections !== shown.connections) tell(`The session has ${connections} open ${connections === 1 ? "connection" : "connections"}.`);
  if (user) seen("login");
  if (connections > 1) seen("tabs");
}

function showCountdown() {
  const [left, latest] = [client.session.expiresIn(), client.session.absoluteExpiresIn()];
  const isThere = client.session.ref !== null;
  longest = Math.max(longest, left ?? 0);
  if (warnedAt !== null && (left === null || left > warnedAt + 1)) unwarn();
  show("countdown", left === null ? (isThere ? "No limit" : "–") : inWords(left));
  element("countdown-label").hidden = left === null;
  element("left").max = longest;
  element("left").value = left ?? 0;
  show("absolute", latest === null ? null : `in ${inWords(latest)}`);
  document.title = warnedAt !== null ? `${inWords(left)} left · wshttp` : TITLE;
}

/** It lives on, or is over: whoever kept it alive, there is nothing to warn of any more. */
function unwarn() {
  warnedAt = null;
  notice("warning", null);
}

client.on("session", showSession);

client.on("expiring", ({ seconds }) => {
  warnedAt = seconds;
  tell(`Warned: the session ends in ${inWords(seconds)}.`);
  showCountdown();
  notice("warning", `Your session ends in ${inWords(seconds)} unless you stay.`, { label: "Stay", act: stay });
});

client.on("ended", ({ reason, text }) => {
  tell(text);
  if (reason !== null && reason !== "shutdown") seen("end");
});

async function stay() {
  const wasWarned = notices.warning !== null;
  if ((await done(client.touch())) && wasWarned) seen("stay");
  showCountdown();
}

/** Wait for what was asked; tell whether it worked. What did not is told by the event `error`. */
async function done(promise) {
  return promise.then(() => true, () => false);
}

// --- what the session holds -----------------------------------------------------------------------------

let counter = 0;
const ways = new Set();
const WAYS = { request: "over HTTP", message: "over the socket" };

function showCounter(value) {
  counter = value;
  show("counter", String(counter));
}

/** Whether the server counts: `wshttp.demo` does, which settings may name. Asked so that no is an answer, too. */
async function isCounting() {
  const { headers } = await client.fetch("/counter", { method: "OPTIONS" });
  return (headers.get("Allow") ?? "").includes("POST");
}

async function showCounting() {
  if (!(await isCounting())) return;
  const { ref } = client.session;
  const told = await (await client.fetch("/counter")).json();
  element("counting").hidden = document.querySelector("[data-step=count]").hidden = false;
  if (ref === client.session.ref) showCounter(Math.max(counter, told.counter));
}

/** It was raised, here or in another tab; two that come at once may come in any order. */
function counted({ counter: value, by }) {
  showCounter(Math.max(counter, value));
  tell(`Counted to ${value}, ${WAYS[by]}.`);
  ways.add(by);
  if (ways.size === 2) seen("count");
}

async function countOverHttp() {
  const response = await client.fetch("/counter", { method: "POST" }).catch(() => null);
  if (!response?.ok) tell("The request to count was in vain.");
}

/** What the server has for this session alone: its counter, or a message from whoever runs it. */
client.on("message", ({ topic, data }) => {
  if (topic !== null) return;
  if (Number.isInteger(data?.counter) && data.by in WAYS) return counted(data);
  const text = `A message to you: ${typeof data === "string" ? data : JSON.stringify(data)}`;
  tell(text);
  notice("message", text, { label: "Close", act: () => notice("message", null) });
  seen("message");
});

// --- the log-in -----------------------------------------------------------------------------------------

let isLoggingIn = false; // what goes wrong then is told beside the form

function showLogin() {
  const { login } = client.socket.offers;
  element("login").hidden = client.session.user !== null || login === undefined;
  element("login-form").hidden = !login;
  element("login-how").hidden = login !== false;
  for (const hint of document.querySelectorAll(".user-first")) hint.hidden = login !== false;
  if (login) element("admin").href = `${PREFIX}/admin/`;
  else element("admin").removeAttribute("href");
}

async function logIn(event) {
  event.preventDefault();
  const form = event.target;
  const button = form.querySelector("button");
  button.disabled = isLoggingIn = true;
  show("login-error", "");
  try {
    await client.login(form.user.value, form.password.value);
    form.reset();
  } catch (error) {
    show("login-error", refusal(error));
  }
  button.disabled = isLoggingIn = false;
}

function refusal({ code, retryAfter, message }) {
  if (code === "bad-credentials") return "User or password is wrong.";
  if (code === "too-many-requests") return `Too many attempts. Try again in ${inWords(retryAfter ?? 60)}.`;
  return message;
}

// --- the connection -------------------------------------------------------------------------------------

const STATES = {
  connecting: () => "Connecting",
  open: () => `Connected by ${TRANSPORTS[client.socket.via]}`,
  waiting: () => "Connection lost",
  closed: () => "Not connected",
};

let returns = -1; // the first time is none
let attempts = 0; // that are made at once

client.on("state", ({ state, via, why }) => {
  element("state").dataset.state = state;
  show("state", STATES[state]());
  show("via", TRANSPORTS[via]);
  show("connection", client.socket.connection);
  for (const control of element("chat-form").elements) control.disabled = state === "closed";
  showMembers();
  if (state === "waiting") tell(why);
  if (state === "open") notice("connection", null);
  if (state === "waiting") notice("connection", `${why} This page comes back by itself.`, { label: "Now", act: () => client.socket.open() });
  if (state === "closed") notice("connection", why, beginning());
  if (state === "waiting") hurry();
});

/** What is left to do where the connection does not come back by itself. */
function beginning() {
  if (client.session.ref !== null) return { label: "Connect again", act: () => client.socket.open() };
  return { label: "Begin a new session", act: () => void done(client.start()) };
}

client.on("open", ({ via }) => {
  returns += 1;
  show("returns", howOften(returns));
  tell(`Connected by ${TRANSPORTS[via]}.`);
  if (via === "stream") seen("block");
  attempts = 0;
  notice("problem", null);
  showLogin();
  void done(showCounting());
});

client.on("gap", ({ topic, missed }) => {
  if (topic === null) tell(`${missed} messages found no room on the server.`); // of a topic, `resumed` has said it
});

client.on("error", ({ code, message }) => {
  if (isLoggingIn || code === "connection-lost") return;
  tell(message);
  notice("problem", message);
});

function drop() {
  element("drop").disabled = element("block").disabled = true;
  tell(`The connection is dropped for ${DROPPED_FOR} s.`);
  room.wasDropped = true;
  network.cut();
  setTimeout(() => {
    network.mend();
    element("drop").disabled = element("block").disabled = false;
  }, DROPPED_FOR * 1000);
}

/** Block WebSockets; or begin anew without that, as the client would try one only after minutes. */
function block() {
  const button = element("block");
  if (button.dataset.blocked) return location.reload();
  button.dataset.blocked = "yes";
  button.textContent = "Allow WebSockets";
  tell("WebSockets are blocked: after two attempts the page does without.");
  attempts = 3; // two of a WebSocket, and the stream
  network.blockWebSockets();
}

/** Come back at once, since this is a demonstration: a network that fails by itself is given time. */
function hurry() {
  if (attempts === 0) return;
  attempts -= 1;
  queueMicrotask(() => client.socket.open());
}

// --- rooms ----------------------------------------------------------------------------------------------

let room; // the one that this page is in

function enter(name) {
  if (room) client.unsubscribe(room.topic);
  // `isFull`: what was said before this page came is there. `missed`: what came since the connection is back.
  const entered = (room = { name, topic: `room.${name}`, isFull: false, wasDropped: false, missed: 0 });
  element("message-list").replaceChildren();
  showMembers();
  void done(client.subscribe(room.topic, (data, message) => entered === room && heard(data, message), { after: "beginning" }));
}

function heard(data, { from }) {
  room.missed += 1;
  const isOurs = from !== null && from.ref === client.session.ref;
  const item = made("li", made("b", nameOf(from)), { hue: hueOf(from), ours: isOurs ? "yes" : "" });
  item.append(" ", String(data?.text ?? data));
  add(element("message-list"), item, KEPT_MESSAGES);
}

client.on("resumed", ({ topic, whole }) => {
  if (topic !== room.topic) return;
  if (room.isFull) tell(`Back in the ${room.name}: ${whole ? howMany(room.missed) : "the server does not have all of it any more"}.`);
  if (room.isFull && room.wasDropped) seen("drop");
  room.isFull = true;
  room.wasDropped = false;
});

client.on("close", () => void (room.missed = 0));

function howMany(missed) {
  if (!missed) return "nothing was missed";
  return missed === 1 ? "one message was missed, and is here" : `${missed} messages were missed, and all are here`;
}

client.on("presence", showMembers);
client.on("joined", ({ topic, member }) => entering(topic, member, "came in"));
client.on("left", ({ topic, member }) => entering(topic, member, "left"));

function entering(topic, member, what) {
  if (topic !== room.topic) return;
  showMembers();
  add(element("message-list"), made("li", `${nameOf(member)} ${what}`, { system: "yes" }), KEPT_MESSAGES);
}

function showMembers() {
  const members = room && client.socket.state === "open" ? client.members(room.topic) : [];
  const names = members.map((member) => made("span", nameOf(member), { hue: hueOf(member) }));
  element("members").replaceChildren(...(names.length ? names : ["nobody"]));
}

function nameOf(member) {
  if (member === null) return "the server";
  const name = member.user ?? `guest ${member.ref.slice(0, 4)}`;
  return member.ref === client.session.ref ? `${name} (you)` : name;
}

/** Give everybody a colour, the same on every page. */
function hueOf(member) {
  return member === null ? "" : String(parseInt(member.ref.slice(-4), 16) % HUES);
}

/** Say something; while the connection is away it waits, and that can be seen. */
async function say(event) {
  event.preventDefault();
  const text = element("chat-text").value.trim();
  event.target.reset();
  if (!text) return;
  const waits = client.socket.state === "open" ? null : made("li", `${text} (waits for the connection)`, { system: "yes" });
  if (waits) add(element("message-list"), waits, KEPT_MESSAGES);
  if (await done(client.publish(room.topic, { text }))) seen("say");
  else element("chat-text").value ||= text;
  waits?.remove();
}

// --- what the visitor does ------------------------------------------------------------------------------

element("login-form").addEventListener("submit", logIn);
element("chat-form").addEventListener("submit", say);
element("rooms").addEventListener("change", ({ target }) => enter(target.value));
element("stay").addEventListener("click", stay);
element("end").addEventListener("click", () => done(client.endSession()));
element("drop").addEventListener("click", drop);
element("block").addEventListener("click", block);
element("count-request").addEventListener("click", countOverHttp);
element("count-message").addEventListener("click", () => done(client.send("count")));
element("module").href = `${PREFIX}/wshttp.js`;
recall();
showLogin();
enter(document.querySelector("[name=room]:checked").value);
setInterval(showCountdown, 1000);
