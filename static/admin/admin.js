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

const [overview, sessions, connections, feed, stream] = [new Overview(), new Sessions(), new Connections(), new Feed(), new Stream()];
const card = new Card(() => { if (location.hash.startsWith("#session/")) location.hash = view; });
new Message();

let view = VIEWS[0];
let isPaused = false;
let looking = false;

// --- views ---

function route(isFirst = false) {
  const [name, ref] = location.hash.slice(1).split("/");
  if (name === "session" && /^[0-9a-f]+$/.test(ref ?? "")) {
    show(view);
    card.open(ref);
    return;
  }
  card.close();
  show(VIEWS.includes(name) ? name : VIEWS[0]);
  if (!isFirst) element(`${view}-title`).focus({ preventScroll: true });
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

async function look() {
  if (looking) return;
  looking = true;
  try {
    await overview.look();
    notice(null);
  } catch (error) {
    notice(error.message);
  } finally {
    looking = false;
  }
}

function notice(text) {
  setText(element("notice"), text ?? "");
  element("notice").hidden = text === null;
}

function happened(what, data) {
  feed.take(what, data);
  for (const each of [sessions, connections, card]) each.take(what, data);
}

const isWatched = () => !isPaused && !document.hidden;

function tick() {
  if (!isWatched()) return;
  refreshAll();
  if (view === "sessions") sessions.sayTimes();
  if (view === "connections") connections.sayTimes();
}

function pause() {
  isPaused = !isPaused;
  element("pause").setAttribute("aria-pressed", String(isPaused));
  setText(element("pause"), isPaused ? "Go on" : "Pause");
  if (isPaused) stream.pause();
  else { stream.open(); look(); }
}

element("pause").onclick = pause;
stream.on("happened", happened);
stream.on("open", () => { sessions.lookAgain(); connections.lookAgain(); });
window.addEventListener("hashchange", () => route());
document.addEventListener("visibilitychange", () => { if (isWatched()) look(); });
setInterval(() => { if (isWatched()) look(); }, LOOK_EVERY);
setInterval(tick, TICK);

route(true);
stream.open();
