// The socket's life: when it comes back, when it does not, and what it says about that.

import assert from "node:assert/strict";
import { test } from "node:test";

import { CLOSE, explain } from "../../static/wshttp.js";
import { clientOf, facts, FakeServer, open, problem, settle } from "./fakes.mjs";

test("it opens at once, on the server of the page, and says so after the welcome", async () => {
  const { client, server, all } = await open(new FakeServer());
  assert.equal(server.connection.url.href, "ws://server.test/wshttp/socket");
  assert.equal(server.connection.protocol, "wshttp.v1");
  assert.deepEqual(all("state"), [{ state: "open", via: "websocket", why: null }]);
  assert.deepEqual([all("open")[0].connection, all("open")[0].via], ["c1", "websocket"]);
  assert.deepEqual([client.socket.state, client.socket.connection], ["open", "c1"]);
});

test("base and prefix say where, and https makes wss", async () => {
  const server = new FakeServer();
  await open(server, { base: "https://other.test", prefix: "/api/live" });
  assert.equal(server.connection.url.href, "wss://other.test/api/live/socket");
});

test("a lost connection comes back", async () => {
  const { client, server, clock, all } = await open(new FakeServer());
  server.connection.drop();
  assert.equal(client.socket.state, "waiting");
  assert.equal(client.socket.retryIn(), 0.5);
  await clock.advance(0.5);
  assert.deepEqual([client.socket.state, server.connections.length], ["open", 2]);
  assert.deepEqual(all("close"), [{ code: 1006, reason: "", why: "The connection was lost.", again: true }]);
  assert.deepEqual(all("ended"), []);
});

test("it waits longer each time, up to thirty seconds, by chance", async () => {
  const server = Object.assign(new FakeServer(), { isUp: false });
  const { client, clock, all } = await open(server, { random: () => 1 });
  const waits = [];
  for (let attempt = 0; attempt < 8; attempt += 1) {
    waits.push(client.socket.retryIn());
    await clock.advance(client.socket.retryIn());
  }
  assert.deepEqual(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
  server.isUp = true;
  await clock.advance(30);
  assert.equal(client.socket.state, "open");
  assert.deepEqual(all("close"), [], "what was never open does not close");

  const lucky = await open(Object.assign(new FakeServer(), { isUp: false }), { random: () => 0.1 });
  assert.equal(lucky.client.socket.retryIn(), 0.1);
});

test("connections that do not last count as failures, one that lasted does not", async () => {
  const { client, server, clock } = await open(new FakeServer(), { random: () => 1 });
  server.connection.drop();
  await clock.advance(1);
  server.connection.drop();
  assert.equal(client.socket.retryIn(), 2);
  await clock.advance(2 + 5);
  server.connection.drop();
  assert.equal(client.socket.retryIn(), 1);
});

test("a server that has too much to do is spared for longer", async () => {
  for (const [code, reason] of [[1013, "capacity"], [1011, "internal error"], [1009, ""]]) {
    const { client, server } = await open(new FakeServer(), { random: () => 1 });
    server.connection.drop(code, reason);
    assert.equal(client.socket.retryIn(), 8, `${code} ${reason}`);
  }
});

test("one that did not answer pings in time comes back soon", async () => {
  const { client, server } = await open(new FakeServer(), { random: () => 1 });
  server.connection.drop(1011, "ping timeout");
  assert.equal(client.socket.retryIn(), 1);
});

test("a renewed session comes back at once, but not in a circle", async () => {
  const { client, server } = await open(new FakeServer());
  server.connection.drop(4000, "session-renewed");
  assert.equal(client.socket.state, "connecting");
  await settle();
  assert.deepEqual([client.socket.state, server.connections.length], ["open", 2]);
  server.connection.drop(4000, "session-renewed");
  assert.equal(client.socket.state, "waiting");
});

for (const row of CLOSE.filter(({ again }) => again === "never")) {
  test(`after ${row.code} ${row.reason} it stays away, and says why`, async () => {
    const { client, server, clock, page, all } = await open(new FakeServer());
    server.connection.drop(row.code, row.reason);
    assert.deepEqual([client.socket.state, client.socket.why], ["closed", row.text]);
    assert.deepEqual(all("close"), [{ code: row.code, reason: row.reason, why: row.text, again: false }]);
    page.online();
    page.look();
    await clock.advance(3600);
    assert.equal(server.connections.length, 1);
  });
}

test("the codes that mean it are those, and no others", () => {
  const never = CLOSE.filter(({ again }) => again === "never").map(({ code }) => code);
  assert.deepEqual(never, [1008, 4001, 4002, 4003, 4004, 4005, 4006, 4007, 4008]);
});

test("every code has words", () => {
  assert.equal(explain(1013, "rate").text, "This page sent too many messages.");
  assert.equal(explain(1013, "unheard of").code, 1013);
  assert.deepEqual(explain(4900, "mine"), {
    code: 4900, reason: "mine", again: "soon", text: "The server closed the connection.",
  });
});

test("what was closed for good opens again when told to", async () => {
  const { client, server } = await open(new FakeServer());
  server.connection.drop(4008, "kicked");
  client.socket.open();
  await settle();
  assert.deepEqual([client.socket.state, client.socket.why], ["open", null]);
});

test("a page that is looked at, or a network that is back, waits no longer", async () => {
  for (const sign of ["look", "online"]) {
    const { client, server, clock, page } = await open(new FakeServer());
    server.isUp = false;
    server.connection.drop();
    await clock.advance(60);
    server.isUp = true;
    page.document.visibilityState = "hidden";
    page.look();
    assert.equal(client.socket.state, "waiting", "nobody looks");
    page.document.visibilityState = "visible";
    page[sign]();
    await settle();
    assert.equal(client.socket.state, "open", sign);
  }
});

test("when the server says when to come back, nobody comes earlier", async () => {
  const server = Object.assign(new FakeServer(), { blocksWebSockets: true });
  server.overrides.set("GET /session", () => problem(503, "limit-reached", { headers: { "Retry-After": "120" } }));
  const { client, clock, page } = await open(server, { random: () => 0 });
  assert.equal(client.socket.retryIn(), 120);
  page.online();
  await clock.advance(119);
  assert.equal(server.connections.length, 1);
  await clock.advance(1);
  assert.equal(server.connections.length, 2);
});

test("those whom a server sends away at the same moment come back at moments of their own", async () => {
  const waits = [];
  for (const chance of [0, 0.5, 1]) {
    const server = Object.assign(new FakeServer(), { blocksWebSockets: true });
    server.overrides.set("GET /session", () => problem(503, "limit-reached", { headers: { "Retry-After": "120" } }));
    const { client } = await open(server, { random: () => chance });
    waits.push(client.socket.retryIn());
  }
  assert.deepEqual(waits, [120, 124, 128]);
});

test("a page without a session, on a server that starts none by itself, is told so", async () => {
  const server = Object.assign(new FakeServer(), { session: null, autoStart: false });
  const { client, clock } = await open(server);
  assert.deepEqual([client.socket.state, client.socket.why], ["closed", "There is no session."]);
  await clock.advance(600);
  assert.equal(server.connections.length, 1);
  await client.start();
  await settle();
  assert.equal(client.socket.state, "open");
});

test("a server that does not want this page says so in its own words", async () => {
  const server = Object.assign(new FakeServer(), { blocksWebSockets: true });
  server.overrides.set("GET /session", () => problem(403, "forbidden"));
  const { client } = await open(server);
  assert.deepEqual([client.socket.state, client.socket.why], ["closed", "it is forbidden"]);
});

test("a token that is being renewed elsewhere is no end", async () => {
  const server = new FakeServer();
  const { client, clock, all } = await open(server);
  server.blocksWebSockets = true;
  server.overrides.set("GET /session?touch=0", () => problem(401, "session-ended", { reason: "renewed" }));
  server.connection.drop(4000, "session-renewed");
  await settle();
  assert.equal(client.socket.state, "waiting");
  server.blocksWebSockets = false;
  await clock.advance(2);
  assert.deepEqual([client.socket.state, all("ended")], ["open", []]);
});

test("a session that ended while the page was away is not replaced in silence", async () => {
  const { client, server, clock, page, all } = await open(new FakeServer());
  server.isUp = false;
  server.connection.drop();
  await settle();
  clock.sleep(8 * 3600);
  Object.assign(server, { isUp: true, session: null, reason: "idle" });
  page.look();
  await settle();
  assert.deepEqual(all("ended").map((end) => end.reason), ["idle"]);
  assert.deepEqual([client.socket.state, server.session], ["closed", null]);
  assert.match(client.socket.why, /nobody used it/);
});

test("a server that forgot all sessions gets a new one, and the end of the old one is told", async () => {
  const { client, server, clock, all } = await open(new FakeServer());
  server.connection.tell({ type: "ended", reason: "shutdown" });
  server.session = null;
  server.connection.drop(1001, "going away");
  await clock.advance(1);
  assert.deepEqual(all("ended").map((end) => end.reason), ["shutdown"]);
  assert.deepEqual([client.socket.state, client.session.ref], ["open", "r2"]);
});

test("a handshake that leads nowhere is given up after a while", async () => {
  const server = new FakeServer();
  server.handshake = () => {};
  const { client, clock } = await open(server);
  await clock.advance(14);
  assert.equal(client.socket.state, "connecting");
  await clock.advance(1);
  assert.deepEqual([client.socket.state, server.connections[0].closed], ["waiting", 1000]);
});

test("a silent server is asked for a sign of life, and left when it gives none", async () => {
  const { client, server, clock } = await open(new FakeServer());
  await clock.advance(44);
  assert.equal(server.connection.of("ping").length, 0);
  await clock.advance(1);
  assert.equal(server.connection.of("ping").length, 1);
  await clock.advance(20);
  assert.deepEqual([client.socket.state, server.connections.length], ["open", 1]);
  server.isMute = true;
  await clock.advance(25 + 9);
  assert.equal(client.socket.state, "open");
  await clock.advance(3);
  assert.deepEqual([client.socket.state, server.connections.length, server.connections[0].closed], ["open", 2, 1000]);
});

test("a server that talks is not asked", async () => {
  const { server, clock } = await open(new FakeServer());
  for (let i = 0; i < 20; i += 1) {
    await clock.advance(30);
    server.connection.tell({ type: "app", data: i });
  }
  assert.equal(server.connection.of("ping").length, 0);
});

test("a server that does not offer it is never asked", async () => {
  const server = new FakeServer();
  server.offers.ping = false;
  const { clock, client } = await open(server);
  await clock.advance(600);
  assert.deepEqual([server.connection.sent, client.socket.state], [[], "open"]);
});

test("after a sleep the connection is doubted at once", async () => {
  const { client, server, clock, page } = await open(new FakeServer());
  clock.sleep(600);
  server.isMute = true;
  page.look();
  assert.equal(server.connection.of("ping").length, 1);
  await clock.advance(11);
  assert.deepEqual([client.socket.state, server.connections.length], ["open", 2]);
});

test("what is no message is passed over", async () => {
  const { client, server, all } = await open(new FakeServer());
  for (const data of ["", "{", "null", "[]", "7", '{"type": 1}', '{"type": "toString"}', '{"type": "__proto__"}', '{"type": "news"}'])
    server.connection.onmessage({ data });
  assert.deepEqual([client.socket.state, all("error")], ["open", []]);
});

test("listeners that throw harm nobody else", async (context) => {
  const reported = context.mock.method(console, "error", () => {});
  const { client, server, all } = clientOf(new FakeServer());
  client.on("open", () => { throw new Error("mine"); });
  await settle();
  server.connection.drop();
  assert.deepEqual([reported.mock.callCount(), all("close").length], [1, 1]);
});

test("a listener may open it again, or close it for good, in the middle of things", async () => {
  const one = await open(new FakeServer());
  one.client.on("close", () => one.client.socket.open());
  one.server.connection.drop();
  await settle();
  assert.deepEqual([one.client.socket.state, one.server.connections.length], ["open", 2]);

  const again = await open(new FakeServer());
  again.client.on("close", () => again.client.socket.open());
  await again.client.endSession();
  await settle();
  assert.deepEqual([again.client.socket.state, again.server.connections.length], ["open", 2]);

  const two = await open(new FakeServer());
  two.client.on("close", () => two.client.close());
  two.server.connection.drop();
  await two.clock.advance(60);
  assert.deepEqual([two.client.socket.state, two.server.connections.length, two.all("close").length], ["closed", 1, 1]);
});

test("a listener that was taken out hears nothing, and unknown names are a mistake", async () => {
  const { client } = clientOf(new FakeServer());
  const heard = [];
  client.on("open", () => heard.push(1))();
  await settle();
  assert.deepEqual(heard, []);
  assert.throws(() => client.on("opened", () => {}), /there is no event opened/);
});

test("close is for good: the server hears it, and nothing comes after", async () => {
  const { client, server, clock, page } = await open(new FakeServer());
  client.close();
  assert.equal(server.connection.closed, 1000);
  assert.equal(client.socket.why, "This page closed the connection.");
  page.online();
  await clock.advance(600);
  assert.equal(server.connections.length, 1);
});

test("a page that closes at once opens nothing", async () => {
  const { client, server } = clientOf(new FakeServer());
  client.close();
  await settle();
  assert.deepEqual([server.connections.length, client.socket.state], [0, "closed"]);
});

test("facts of the session that the socket tells are known", async () => {
  const { client, server } = await open(new FakeServer());
  server.connection.tell({ type: "session", session: facts({ user: "ada", roles: ["staff"], connections: 2 }) });
  assert.deepEqual([client.session.user, client.session.roles, client.session.connections], ["ada", ["staff"], 2]);
});
