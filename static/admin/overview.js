// Numbers of the node that answers: small charts, counts since it started, and the other nodes.

import { call } from "./api.js";
import { Chart, SPAN } from "./chart.js";
import * as clock from "./clock.js";
import { element, foreign, make, setText } from "./element.js";
import { bytes, count, counted, duration, seconds } from "./words.js";

const REASONS = ["logout", "idle", "absolute", "replaced", "limit", "admin", "credentials", "shutdown"];
const OUTCOMES = ["succeeded", "failed", "throttled"];

const WINDOW = 10; // seconds that a rate is of: those of two seconds would jump

const perSecond = (value) => `${value < 10 ? Number(value.toFixed(1)) : count(Math.round(value))}/s`;

/** What grew between two looks, per second; `null` where the server was started anew, or there is none before. */
function rate(before, after, of) {
  if (!before || after.uptime < before.uptime || after.at <= before.at) return null;
  return Math.max(0, (of(after) ?? 0) - (of(before) ?? 0)) / (after.at - before.at);
}

const sum = (counts) => Object.values(counts).reduce((total, each) => total + each, 0);

/** Charts: `values` makes a sample of two looks, `value` the words for the latest. */
const CHARTS = [
  {
    title: "Sessions", series: ["live"], format: count,
    values: (_, { sessions }) => [sessions.live],
    value: ({ sessions }) => (sessions.live === null ? "The store is away" : `${count(sessions.live)} live`),
  },
  {
    title: "Starts and ends", series: ["started", ...REASONS], lines: 1, format: perSecond,
    values: (before, after) => [
      rate(before, after, ({ sessions }) => sessions.started),
      ...REASONS.map((reason) => rate(before, after, ({ sessions }) => sessions.ended[reason])),
    ],
    value: ({ sessions }) => `${count(sessions.started)} started, ${count(sum(sessions.ended))} ended`,
    keys: ({ sessions }) => [
      `started ${count(sessions.started)}`,
      ...REASONS.map((reason) => {
        const ended = sessions.ended[reason];
        return ended ? `${reason} ${count(ended)}` : null;
      }),
    ],
  },
  {
    title: "WebSockets", series: ["open"], format: count,
    values: (_, { connections }) => [connections.open],
    value: ({ connections }) => `${count(connections.open)} open`,
  },
  {
    title: "Requests", series: ["answered"], format: perSecond,
    values: (before, after) => [rate(before, after, ({ requests }) => requests.answered)],
    value: ({ requests }, [now]) => {
      const many = now === null ? count(requests.answered) : perSecond(now);
      return `${many}, p95 ${duration(requests.seconds.p95)}`;
    },
  },
  {
    title: "Messages", series: ["received", "sent"], format: perSecond,
    values: (before, after) => [
      rate(before, after, ({ messages }) => messages.received),
      rate(before, after, ({ messages }) => messages.sent),
    ],
    value: ({ messages }) => {
      const many = `${count(messages.received)} in, ${count(messages.sent)} out`;
      return `${many}, p95 ${duration(messages.seconds.p95)}`;
    },
  },
  {
    title: "Log-ins", series: OUTCOMES, lines: 1, format: perSecond,
    values: (before, after) => OUTCOMES.map((name) => rate(before, after, ({ logins }) => logins[name])),
    value: ({ logins }) => `${count(logins.succeeded)} succeeded, ${count(logins.failed)} failed`,
    keys: ({ logins }) => OUTCOMES.map((name) => `${name} ${count(logins[name])}`),
  },
  {
    title: "Lateness of ends", series: ["p95"], format: duration,
    values: (_, { lateness }) => [lateness.p95],
    value: ({ lateness: { count: ends, p95, max } }) => (
      ends ? `p95 ${duration(p95)}, at most ${duration(max)}` : "no end after a deadline yet"
    ),
  },
  {
    title: "Store", series: ["p95"], format: duration,
    values: (_, { store }) => [store.seconds.p95],
    value: ({ store }) => {
      if (!store.up) return "away";
      return `${store.kind}: ${store.seconds.count ? `p95 ${duration(store.seconds.p95)}` : "nothing to wait for"}`;
    },
  },
];

const COUNTS = {
  "Up for": ({ uptime }) => seconds(uptime),
  "Requests answered": ({ requests }) => count(requests.answered),
  "By status": ({ requests }) => listed(requests.by_status),
  "WebSockets opened": ({ connections }) => count(connections.opened),
  "Closed by code": ({ connections }) => listed(connections.closed),
  "Messages received": ({ messages }) => `${count(messages.received)}, ${bytes(messages.received_bytes)}`,
  "Messages sent": ({ messages }) => `${count(messages.sent)}, ${bytes(messages.sent_bytes)}`,
  "Slow receivers": ({ messages }) => count(messages.slow),
  "TCP connections": ({ tcp }) => `${count(tcp.open)} open, ${count(tcp.refused)} refused`,
  "Sessions refused": ({ sessions }) => listed(sessions.refused),
  "Callbacks owed": ({ store }) => count(store.owed),
};

const listed = (counts) => (
  Object.entries(counts).map(([name, number]) => `${name}: ${count(number)}`).join(", ") || "none"
);

export class Overview {
  #charts = CHARTS.map((chart) => new Chart(element("charts"), chart));
  #looks = new Map(); // by node: behind one address there may be several, and their numbers do not mix
  #counts = new Map();

  constructor() {
    for (const name of Object.keys(COUNTS)) {
      const value = make("dd");
      this.#counts.set(name, value);
      element("counts").append(make("div", {}, make("dt", {}, name), value));
    }
  }

  /** Ask for the numbers, and show them. */
  async look() {
    const stats = await call("GET", "stats");
    clock.learn(stats.at);
    const looks = this.#looks.get(stats.node) ?? [];
    const before = looks.find((look) => look.stats.at >= stats.at - WINDOW) ?? looks.at(-1);
    looks.push({ stats, before: before?.stats });
    this.#looks.set(stats.node, looks.filter(({ stats: { at } }) => at > stats.at - SPAN - 10));
    if (!element("overview").hidden) this.#show(stats);
  }

  #show(stats) {
    const looks = this.#looks.get(stats.node);
    CHARTS.forEach(({ values, value, keys }, index) => {
      const samples = looks.map(({ stats: after, before }) => ({ at: after.at, values: values(before, after) }));
      this.#charts[index].draw(samples, stats.at, { value: value(stats, samples.at(-1).values), keys: keys?.(stats) });
    });
    for (const [name, words] of Object.entries(COUNTS)) setText(this.#counts.get(name), words(stats));
    setText(element("about"), about(stats));
    this.#showNodes(stats.nodes);
  }

  #showNodes(nodes) {
    element("nodes").hidden = nodes.length < 2;
    element("nodes-list").replaceChildren(...nodes.map(({ node, connections, self }) => make(
      "li", {}, make("span", {}, foreign(node, "code"), self ? " (this one)" : ""), counted(connections, "WebSocket"),
    )));
  }
}

function about({ node, nodes, version, store }) {
  const where = nodes.length > 1 ? `Node ${node}, one of ${nodes.length}; sessions are those of all` : "One node";
  return `${where}. wshttp ${version}, store: ${store.kind}${store.up ? "" : ", which is away"}.`;
}
