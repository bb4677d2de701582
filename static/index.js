// The first page: what the socket tells about the session is shown; what the server does not offer is not.
// It asks for nothing that could fail: the socket's welcome says what there is.

const API = document.documentElement.dataset.api;
const TOPIC = "chat";
const KEPT_MESSAGES = 200;

const CLOSED = {
  1000: "The server said goodbye.",
  1001: "The server is going away.",
  1002: "The server did not understand this page.",
  1003: "The server does not take this kind of message.",
  1006: "The connection was lost without a word.",
  1007: "The server got text that is not UTF-8.",
  1008: "This page may not talk to the server any more.",
  1009: "A message was too big for the server.",
  1011: "Something went wrong on the server, or this page did not answer in time.",
  1013: "The server has too much to do, or this page was too slow or too busy.",
  4000: "The session was renewed; this page comes back by itself.",
  4001: "The session has ended: you ended it, here or in another tab.",
  4002: "The session has ended: nobody used it for too long.",
  4003: "The session has ended: it has reached its greatest age.",
  4004: "The session has ended: another one took its place.",
  4005: "The session has ended: there were too many.",
  4006: "The session has ended: an administrator ended it.",
  4007: "The session has ended: the user or the password has changed.",
  4008: "An administrator closed this connection.",
};

const element = (id) => document.getElementById(id);
const show = (id, text) => { element(id).textContent = text ?? "–"; };

let socket = null;
let session = null; // as the server told it last, with the moment when it did
let members = new Map(); // who is in the chat, by ref

// --- the session ---

function showSession(told) {
  session = told && { ...told, toldAt: performance.now() };
  show("ref", session?.ref);
  show("user", session && (session.user ?? "anonymous"));
  show("roles", session?.roles?.join(", ") || null);
  show("identity", session?.identity);
  show("connections", session?.connections);
  show("created", session && new Date(session.created_at * 1000).toLocaleTimeString());
  element("stay").disabled = element("end").disabled = !session;
  element("end").textContent = session?.user ? "Log out" : "End session";
  element("left").max = session?.expires_in || 1;
  showCountdown();
}

function showCountdown() {
  const passed = session ? (performance.now() - session.toldAt) / 1000 : 0;
  const left = session?.expires_in == null ? null : Math.max(0, session.expires_in - passed);
  const longest = session?.absolute_expires_in == null ? null : Math.max(0, session.absolute_expires_in - passed);
  show("countdown", left === null ? (session ? "No limit" : "–") : inWords(left));
  element("countdown-label").hidden = left === null;
  element("left").value = left ?? 0;
  show("absolute", longest === null ? null : `in ${inWords(longest)}`);
}

function inWords(seconds) {
  const whole = Math.ceil(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

function notice(text) {
  element("notice").textContent = text ?? "";
  element("notice").hidden = !text;
}

// --- the socket ---

function connect() {
  const url = new URL(`${API}/socket`, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  showState("connecting", "Connecting");
  show("address", url.href);
  element("reconnect").hidden = true;
  socket = new WebSocket(url, "wshttp.v1");
  let opened = false;
  socket.onopen = () => { opened = true; };
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    on[message.type]?.(message);
  };
  socket.onclose = (event) => closed(event, opened);
}

function closed({ code, reason }, opened) {
  showSession(null);
  show("connection", null);
  show("subprotocol", null);
  element("login").hidden = true;
  element("chat").hidden = true;
  if (code === 4000) return connect();
  const said = reason ? `${code}, ${reason}` : code;
  showState("closed", `Closed (${said})`);
  notice(opened ? CLOSED[code] ?? "The server closed the socket." : "The server did not open a socket for this page.");
  element("reconnect").hidden = false;
}

/** Open the socket anew, as whoever this page is now. */
function comeBack() {
  socket.onclose = socket.onmessage = null;
  socket.close(1000, "bye");
  connect();
}

function showState(state, text) {
  element("state").dataset.state = state;
  show("state", text);
}

function send(message) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

const on = {
  welcome(message) {
    showState("open", "Open");
    notice(null);
    show("connection", message.connection);
    show("subprotocol", socket.protocol);
    showSession(message.session);
    element("login").hidden = !message.offers.login || Boolean(message.session.user);
    if (message.offers.topics.some((glob) => matches(glob, TOPIC))) send({ type: "subscribe", topic: TOPIC, id: TOPIC });
  },
  session(message) {
    notice(null);
    showSession(message.session);
  },
  expiring(message) {
    notice(`Your session ends in ${inWords(message.seconds)} unless you stay.`);
  },
  presence(message) {
    if (message.topic !== TOPIC) return;
    members = new Map(message.members.map((member) => [member.ref, member]));
    element("chat").hidden = false;
    showMembers();
  },
  joined({ topic, member }) {
    if (topic === TOPIC) members.set(member.ref, member);
    showMembers();
  },
  left({ topic, member }) {
    if (topic === TOPIC) members.delete(member.ref);
    showMembers();
  },
  message({ topic, data, from }) {
    if (topic === TOPIC) showMessage(nameOf(from), String(data?.text ?? data));
  },
  ok({ expires_in }) {
    if (session && expires_in !== undefined) showSession({ ...session, expires_in });
  },
  error({ detail }) {
    notice(detail);
  },
};

/** Tell whether `topic` matches a glob in which `*` stands for any characters and `?` for one. */
function matches(glob, topic) {
  const pattern = glob.replace(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*").replaceAll("?", ".");
  return new RegExp(`^${pattern}$`).test(topic);
}

// --- the chat ---

function nameOf({ ref, user }) {
  const name = user ?? `guest ${ref.slice(0, 6)}`;
  return ref === session?.ref ? `${name} (you)` : name;
}

function showMembers() {
  show("members", [...members.values()].map(nameOf).join(", ") || "nobody");
}

function showMessage(name, text) {
  const list = element("messages");
  const item = document.createElement("li");
  const who = document.createElement("b");
  who.textContent = name;
  item.append(who, text);
  list.append(item);
  if (list.children.length > KEPT_MESSAGES) list.firstChild.remove();
  list.scrollTop = list.scrollHeight;
}

// --- what the visitor does ---

/** Call the API and return its answer, or null after saying what went wrong. */
async function call(method, path, body) {
  const options = { method };
  if (body) Object.assign(options, { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  try {
    return await fetch(API + path, options);
  } catch {
    notice("The server does not answer.");
    return null;
  }
}

async function logIn(event) {
  event.preventDefault();
  const form = event.target;
  const button = form.querySelector("button");
  button.disabled = true;
  show("login-error", "");
  const answer = await call("POST", "/login", Object.fromEntries(new FormData(form)));
  button.disabled = false;
  if (answer?.ok) {
    form.reset();
    // A renewed session closes its sockets with 4000. That of an address has no user: another has begun beside it.
    if ((await answer.json()).ref !== session?.ref) comeBack();
  } else if (answer) show("login-error", await refusal(answer));
}

async function refusal(answer) {
  if (answer.status === 401) return "User or password is wrong.";
  if (answer.status === 429) return `Too many attempts. Try again in ${inWords(Number(answer.headers.get("Retry-After")) || 60)}.`;
  const problem = await answer.json().catch(() => ({}));
  return problem.detail ?? problem.title ?? `The server answered ${answer.status}.`;
}

async function stay() {
  const answer = await call("POST", "/session/touch");
  if (answer?.ok) on.session({ session: await answer.json() });
}

function say(event) {
  event.preventDefault();
  const text = element("chat-text").value.trim();
  if (text) send({ type: "publish", topic: TOPIC, data: { text }, id: "say" });
  event.target.reset();
}

element("login-form").addEventListener("submit", logIn);
element("chat-form").addEventListener("submit", say);
element("stay").addEventListener("click", stay);
element("end").addEventListener("click", () => call("DELETE", "/session"));
element("reconnect").addEventListener("click", connect);
setInterval(showCountdown, 1000);
connect();
