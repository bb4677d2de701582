// The session's life, as a page sees it: how long it is there, and what is said when it is not.

import assert from "node:assert/strict";
import { test } from "node:test";

import { clientOf, facts, FakeServer, json, open, problem, settle, tokenOf } from "./fakes.mjs";

const alone = { socket: false };

test("the welcome tells who this page is, and for how long", async () => {
  const { client, clock } = await open(new FakeServer());
  assert.equal(client.session.ref, "r1");
  assert.equal(client.session.createdAt.getTime(), 1767225600000);
  assert.deepEqual([client.session.expiresIn(), client.session.absoluteExpiresIn()], [1200, 43200]);
  clock.sleep(100.5);
  assert.equal(client.session.expiresIn(), 1099.5);
});

test("before anything is known there is no session and no end", () => {
  const { client } = clientOf(new FakeServer(), alone);
  assert.deepEqual([client.session.ref, client.session.expiresIn()], [null, null]);
});

test("a session without limits never expires", async () => {
  const server = new FakeServer();
  server.session = facts({ expires_in: null, absolute_expires_in: null });
  const { client, clock, all } = await open(server);
  await clock.advance(3600);
  assert.deepEqual([client.session.expiresIn(), all("expiring"), all("ended")], [null, [], []]);
});

test("a session of forty days outlasts what a timer of a browser can hold", async () => {
  const server = new FakeServer();
  server.session = facts({ expires_in: 40 * 86400, absolute_expires_in: null });
  const { client } = clientOf(server, alone);
  await client.start();
  assert.equal(client.session.expiresIn(), 40 * 86400);
});

test("a server without sessions is told as none", async () => {
  const server = new FakeServer();
  server.handshake = (connection) =>
    connection.tell({ type: "welcome", version: 1, connection: "c1", session: null, offers: {} });
  const { client } = await open(server);
  assert.deepEqual([client.socket.state, client.session.ref], ["open", null]);
});

test("touch and answers of the socket prolong it", async () => {
  const { client, server, clock } = await open(new FakeServer());
  await clock.advance(500);
  await client.touch();
  assert.equal(client.session.expiresIn(), 1200);
  await clock.advance(30);
  await client.publish("chat", 1);
  assert.equal(client.session.expiresIn(), 1200);
  server.connection.tell({ type: "session", session: facts({ expires_in: 900 }) });
  assert.equal(client.session.expiresIn(), 900);
});

test("any answer of the server tells the time that is left", async () => {
  const server = new FakeServer();
  server.fetch = async () => new Response("", { headers: { "Session-Expires-In": "77" } });
  const { client } = clientOf(server, alone);
  client.session.learn(facts());
  await client.fetch("/anything");
  assert.equal(client.session.expiresIn(), 77);
});

test("an answer of another server tells nothing, and gets no token", async () => {
  const server = new FakeServer();
  server.identity = "header";
  const { client } = clientOf(server, { ...alone, remember: "nothing" });
  server.session = null;
  await client.start();
  const asked = [];
  server.overrides.set("GET /other", ({ headers, origin }) => {
    asked.push([origin, headers.get("Authorization")]);
    return new Response("", { headers: { "Session-Expires-In": "5", "Session-Token": "stolen" } });
  });
  await client.fetch("http://elsewhere.test/other");
  await client.fetch("/other");
  assert.deepEqual(asked, [["http://elsewhere.test", null], ["http://server.test", `Session ${server.token}`]]);
});

test("an answer of whom our own server led to tells nothing", async () => {
  const server = Object.assign(new FakeServer(), { identity: "header", session: null });
  const { client, all } = clientOf(server, { ...alone, remember: "nothing" });
  await client.start();
  const { token } = server;
  const headers = { "Session-Expires-In": "5", "Session-Token": tokenOf("foreign") };
  for (const answer of [new Response("", { headers }), problem(401, "session-ended", { reason: "idle", headers })]) {
    Object.defineProperty(answer, "url", { value: "http://elsewhere.test/" });
    server.overrides.set("GET /go", () => answer);
    await client.fetch("/go");
  }
  await client.touch();
  assert.equal(server.requests.at(-1).headers.get("Authorization"), `Session ${token}`);
  assert.deepEqual([client.session.expiresIn(), all("ended")], [1200, []]);
});

test("a token in a header that browsers do not take out is not led elsewhere", async () => {
  for (const [header, expected] of [["X-Session", "error"], ["authorization", undefined]]) {
    const server = new FakeServer();
    server.overrides.set("POST /session", () => json(facts(), 201, { "Session-Token": tokenOf("mine") }));
    server.overrides.set("GET /page", () => new Response(""));
    const { client } = clientOf(server, { ...alone, remember: "nothing", header });
    await client.fetch("/page");
    await client.start();
    for (const init of [{}, { redirect: "follow" }, { redirect: "manual" }]) await client.fetch("/page", init);
    await client.fetch("http://elsewhere.test/page");
    const told = server.asked("GET", "/page").map(({ redirect }) => redirect);
    assert.deepEqual(told, [undefined, expected, expected ?? "follow", "manual", undefined]);
  }
});

test("calls of its own follow nobody", async () => {
  const { server, client, page } = await open(new FakeServer(), { endOnLeave: true });
  await client.touch();
  await client.login("ada", "right");
  page.leave();
  assert.deepEqual(new Set(server.requests.map(({ redirect }) => redirect)), new Set(["error"]));
});

test("the server's warning is told, once for each deadline", async () => {
  const { server, clock, all } = await open(new FakeServer());
  await clock.advance(1140);
  server.connection.tell({ type: "expiring", seconds: 60 });
  server.connection.tell({ type: "expiring", seconds: 60 });
  assert.deepEqual(all("expiring"), [{ seconds: 60 }]);
  server.connection.tell({ type: "session", session: facts() });
  await clock.advance(1140);
  server.connection.tell({ type: "expiring", seconds: 60 });
  assert.equal(all("expiring").length, 2);
});

test("without a socket the page warns by itself", async () => {
  const { client, clock, all } = clientOf(new FakeServer(), alone);
  await client.start();
  await clock.advance(1139);
  assert.deepEqual(all("expiring"), []);
  await clock.advance(2);
  assert.deepEqual(all("expiring"), [{ seconds: 60 }]);
  await client.touch();
  await clock.advance(1139);
  assert.equal(all("expiring").length, 1);
});

test("when the socket is lost, the page takes over the watch", async () => {
  const { server, clock, all } = await open(new FakeServer());
  await clock.advance(1150);
  assert.deepEqual(all("expiring"), []);
  server.isUp = false;
  server.connection.drop();
  await clock.advance(1);
  assert.deepEqual(all("expiring"), [{ seconds: 50 }]);
});

test("a short session is warned of at its half, not all the time", async () => {
  const server = new FakeServer();
  server.session = facts({ expires_in: 60 });
  const { client, clock, all } = clientOf(server, alone);
  await client.start();
  await clock.advance(29);
  assert.deepEqual(all("expiring"), []);
  await clock.advance(2);
  assert.deepEqual(all("expiring"), [{ seconds: 30 }]);
});

test("the end is told with its reason, in words, and once", async () => {
  const { client, server, all } = await open(new FakeServer());
  server.end("admin", 4006);
  const [end] = all("ended");
  assert.deepEqual([end.ref, end.reason, all("ended").length], ["r1", "admin", 1]);
  assert.match(end.text, /administrator/);
  assert.equal(client.session.ref, null);
});

test("a header client forgets an ended session in time, and does not ask with it", async () => {
  const server = new FakeServer();
  server.identity = "header";
  server.session = null;
  const { client, clock, all } = clientOf(server, { ...alone, remember: "nothing" });
  await client.start();
  const before = server.requests.length;
  await clock.advance(1201);
  assert.deepEqual(all("ended").map((end) => end.reason), ["idle"]);
  assert.equal(server.requests.length, before);
  server.overrides.set("GET /page", () => new Response(""));
  await client.fetch("/page");
  assert.equal(server.requests.at(-1).headers.get("Authorization"), null);
});

test("a session at its greatest age ends with that reason", async () => {
  const server = new FakeServer();
  server.identity = "header";
  server.session = null;
  const { client, clock, all } = clientOf(server, { ...alone, remember: "nothing" });
  await client.start();
  client.session.learn({ ...server.session, expires_in: 50, absolute_expires_in: 50 });
  await clock.advance(51);
  assert.deepEqual(all("ended").map((end) => end.reason), ["absolute"]);
});

test("a cookie may have been used by others, so the server is asked, without a touch", async () => {
  const { client, server, clock, all } = clientOf(new FakeServer(), alone);
  await client.start();
  server.session.expires_in = 300;
  await clock.advance(1203);
  assert.equal(server.asked("GET", "/session?touch=0").length, 1);
  assert.deepEqual(all("ended"), []);
  assert.ok(client.session.expiresIn() > 290);
  server.session = null;
  server.reason = "idle";
  await clock.advance(310);
  assert.deepEqual(all("ended").map((end) => end.reason), ["idle"]);
  await clock.advance(3600);
  assert.equal(server.asked("GET", "/session?touch=0").length, 2);
});

test("while the server is away nobody says that the session ended, and it is asked less and less often", async () => {
  const { client, server, clock, all } = clientOf(new FakeServer(), alone);
  await client.start();
  server.isUp = false;
  await clock.advance(1200 + 600);
  assert.deepEqual(all("ended"), []);
  const asked = server.asked("GET", "/session?touch=0").length;
  assert.ok(asked > 5 && asked < 20, `${asked}`);
});

test("with a socket open it is the server that tells the end", async () => {
  const server = new FakeServer();
  const { clock, all } = await open(server);
  await clock.advance(1200.5);
  assert.deepEqual(all("ended"), []);
  server.end("idle", 4002);
  assert.deepEqual(all("ended").map((end) => end.reason), ["idle"]);
  assert.equal(server.asked("GET", "/session?touch=0").length, 0);
});

test("401 session-ended on any call ends it, a renewed token does not", async () => {
  const server = new FakeServer();
  const { client, all } = clientOf(server, alone);
  await client.start();
  server.overrides.set("GET /work", () => problem(401, "session-ended", { reason: "renewed" }));
  await client.fetch("/wshttp/work");
  assert.deepEqual(all("ended"), []);
  server.overrides.set("GET /work", () => problem(401, "session-ended", { reason: "limit" }));
  const response = await client.fetch("/wshttp/work");
  assert.deepEqual(all("ended").map((end) => end.reason), ["limit"]);
  assert.equal((await response.json()).reason, "limit");
});

test("log-out is told as such, and stops the socket", async () => {
  const { client, server, all } = await open(new FakeServer());
  await client.endSession();
  assert.deepEqual(all("ended").map((end) => end.reason), ["logout"]);
  assert.deepEqual([client.socket.state, server.connection.closed], ["closed", 1000]);
  assert.match(client.socket.why, /you ended it/);
});

test("log-out of a session that is over already is no failure", async () => {
  const { client, server, all } = clientOf(new FakeServer(), alone);
  await client.start();
  server.overrides.set("DELETE /session", () => problem(401, "session-ended", { reason: "idle" }));
  await client.endSession();
  assert.deepEqual(all("ended").map((end) => end.reason), ["idle"]);
});

test("log-out that does not reach the server is a failure, and the session stands", async () => {
  const { client, server } = clientOf(new FakeServer(), alone);
  await client.start();
  server.isUp = false;
  await assert.rejects(client.endSession(), { code: "unreachable" });
  assert.equal(client.session.ref, "r1");
});

test("a wrong password is refused with the server's words, and a throttle with its seconds", async () => {
  const { client, server } = await open(new FakeServer());
  await assert.rejects(client.login("ada", "wrong"), { code: "bad-credentials", status: 401 });
  server.overrides.set("POST /login", () => problem(429, "too-many-requests", { headers: { "Retry-After": "30" } }));
  await assert.rejects(client.login("ada", "right"), { code: "too-many-requests", retryAfter: 30 });
  assert.deepEqual([client.session.user, client.socket.state], [null, "open"]);
});

test("after a log-in the socket is that user's, and comes back but once", async () => {
  const server = new FakeServer();
  const { client, all } = await open(server);
  server.overrides.set("POST /login", async ({ body }) => {
    await settle();
    server.connection.drop(4000, "session-renewed"); // before the answer is there
    await settle();
    return server.logIn(body);
  });
  const session = await client.login("ada", "right");
  await settle();
  assert.deepEqual([session.user, client.socket.state, server.connections.length], ["ada", "open", 2]);
  assert.deepEqual(all("ended"), []);
});

test("a log-in that gives another session opens the socket anew", async () => {
  const server = new FakeServer();
  const { client, all } = await open(server);
  server.overrides.set("POST /login", () => {
    server.session = facts({ ref: "mine", user: "ada" });
    return new Response(JSON.stringify(server.session));
  });
  await client.login("ada", "right");
  await settle();
  assert.deepEqual([client.session.ref, client.socket.state], ["mine", "open"]);
  assert.deepEqual([server.connections.length, server.connections[0].closed], [2, 1000]);
  assert.deepEqual(all("ended"), []);
});

test("another session in a welcome means that the one before is over, and nobody knows why", async () => {
  const { client, server, clock, all } = await open(new FakeServer());
  server.connection.drop();
  server.session = facts({ ref: "other" });
  await clock.advance(2);
  assert.deepEqual(all("ended").map(({ ref, reason, text }) => [ref, reason, text]), [["r1", null, "The session has ended."]]);
  assert.deepEqual([client.session.ref, client.socket.state], ["other", "open"]);
});

test("after an end, start begins anew", async () => {
  const { client, server } = await open(new FakeServer());
  server.end("idle", 4002);
  assert.equal(client.socket.state, "closed");
  const session = await client.start();
  await settle();
  assert.deepEqual([session.ref, client.socket.state], ["r2", "open"]);
});

test("a page that is left ends its session if it was asked to, and not when it may come back", async () => {
  const server = new FakeServer();
  const { page, client } = await open(server, { endOnLeave: true });
  page.leave(true);
  assert.equal(server.asked("DELETE", "/session").length, 0);
  page.leave();
  assert.equal(server.asked("DELETE", "/session")[0].keepalive, true);
  client.close();
  page.leave();
  assert.equal(server.asked("DELETE", "/session").length, 1);
});

test("a page that has no session leaves nothing to end", async () => {
  const server = Object.assign(new FakeServer(), { session: null, autoStart: false });
  const { page } = await open(server, { endOnLeave: true });
  page.leave();
  assert.equal(server.asked("DELETE", "/session").length, 0);
});

test("after close nothing of it is left: no timer rings", async () => {
  const { client, clock } = await open(new FakeServer());
  client.close();
  assert.equal(clock.pending, 0);
});
