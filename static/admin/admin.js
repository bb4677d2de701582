// The page of administration: which view is shown, and what keeps it live.

import { Card } from "./card.js";
import { Connections } from "./connections.js";
import { element, setText } from "./element.js";
import { Feed } from "./feed.js";
import { Message } from "./message.js";
import { Overview } from "./overview.js";
import { refreshAll } from "./refresh.js";
import { Sessions } from "./sessions.js";
import { Stream } from "./stream.js";

const VIEWS = ["overview", "sessions", "connections", "message"];
const LOOK_EVERY = 2000; // milliseconds between two looks at the numbers
const TICK = 1000;

const [overview, sessions, connections, feed] = [new Overview(), new Sessions(), new Connections(), new Feed()];
const card = new Card(left);
const stream = new Stream({ happened, opened, mayOpen });
new Message();

let view = VIEWS[0];
let isPaused = false;
let looking = null;
let isOut = false; // the password is not right any more: to go on with it would be guessing, and lock its user out

// --- views ---

function route() {
  const before = view;
  const [name, ref] = location.hash.slice(1).split("/");
  if (name === "session" && /^[0-9a-f]+$/.test(ref ?? "")) {
    show(view);
    card.open(ref);
    return;
  }
  card.close();
  show(VIEWS.includes(name) ? name : VIEWS[0]);
  // Where the view is the same, the focus stays: it is where the card was opened.
  if (view !== before) element(`${view}-title`).focus({ preventScroll: true });
}

/** The card was closed. The address is set without going there, which would take the focus from where it is again. */
function left(ref) {
  if (location.hash === `#session/${ref}`) history.replaceState(null, "", `#${view}`);
}

function show(name) {
  const isNew = element(name).hidden;
  view = name;
  for (const each of VIEWS) element(each).hidden = each !== name;
  for (const link of document.querySelectorAll("nav[aria-label=Views] a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${element(`${name}-title`).textContent} · wshttp administration`;
  if (!isNew) return;
  window.scrollTo(0, 0);
  if (name === "overview") { look(); feed.draw(); }
  if (name === "sessions") sessions.show();
  if (name === "connections") connections.show();
}

// --- what keeps it live ---

function look() {
  return looking ??= lookOnce().finally(() => { looking = null; });
}

async function lookOnce() {
  try {
    await overview.look();
    notice(null);
  } catch (error) {
    notice(error.message);
    if (error.status === 401 || error.status === 403) leave();
  }
}

/** Look once more, seen or not: a stream that is asked for with a password that is wrong by now would only be refused. */
async function mayOpen() {
  await look();
  return !isOut && !isPaused;
}

function leave() {
  isOut = true;
  element("pause").disabled = true;
  stream.close("out");
}

function notice(text) {
  setText(element("notice"), text ?? "");
  element("notice").hidden = text === null;
}

function happened(what, data) {
  feed.take(what, data);
  for (const each of [sessions, connections, card]) each.take(what, data);
}

function opened() {
  sessions.lookAgain();
  connections.lookAgain();
}

const isWatched = () => !isPaused && !isOut && !document.hidden;

function tick() {
  if (!isWatched()) return;
  refreshAll();
  if (view === "sessions") sessions.sayTimes();
  if (view === "connections") connections.sayTimes();
}

function pause() {
  isPaused = !isPaused;
  setText(element("pause"), isPaused ? "Go on" : "Pause");
  if (isPaused) stream.close("paused");
  else { stream.open(); look(); }
}

element("pause").onclick = pause;
window.addEventListener("hashchange", route);
document.addEventListener("visibilitychange", () => { if (isWatched()) look(); });
setInterval(() => { if (isWatched()) look(); }, LOOK_EVERY);
setInterval(tick, TICK);

route();
stream.open();
