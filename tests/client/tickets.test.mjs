// Header identity: a browser sends no header with a handshake, so it shows a ticket.

import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeServer, open, problem, settle } from "./fakes.mjs";

const header = { identity: "header" };

function headerServer() {
  return Object.assign(new FakeServer(), { identity: "header", session: null });
}

const ticketOf = (connection) => connection.url.searchParams.get("ticket");

test("a header client gets its token, then a ticket, then a socket with it", async () => {
  const server = headerServer();
  const { client } = await open(server, header);
  assert.deepEqual(server.requests.map(({ method, path }) => `${method} ${path}`), ["GET /session", "POST /ticket"]);
  assert.equal(server.requests[1].headers.get("Authorization"), `Session ${server.token}`);
  assert.equal(ticketOf(server.connection), "ticket-2");
  assert.deepEqual([client.socket.state, client.session.ref], ["open", "r2"]);
});

test("the token is never in a URL", async () => {
  const server = headerServer();
  await open(server, header);
  const urls = [...server.requests.map(({ path }) => path), ...server.connections.map(({ url }) => url.href)];
  assert.ok(urls.every((url) => !url.includes(server.token)));
});

test("each connection has a ticket of its own", async () => {
  const server = headerServer();
  const { clock } = await open(server, header);
  server.connection.drop();
  await clock.advance(1);
  const [one, two] = server.connections.map(ticketOf);
  assert.ok(one && two && one !== two);
});

test("a cookie client needs none", async () => {
  const server = new FakeServer();
  await open(server);
  assert.deepEqual([server.requests, ticketOf(server.connection)], [[], null]);
});

test("a client that is given a token keeps it, whatever it expected", async () => {
  const server = headerServer();
  const { client } = await open(server, { socket: false });
  await client.start();
  client.socket.open();
  await settle();
  assert.ok(ticketOf(server.connection));
});

test("after a log-in the ticket is got with the new token", async () => {
  const server = headerServer();
  const { client } = await open(server, header);
  const old = server.token;
  server.overrides.set("POST /login", async ({ body }) => {
    await settle();
    server.connection.drop(4000, "session-renewed"); // before the answer is there
    return server.logIn(body);
  });
  await client.login("ada", "right");
  await settle();
  const [, last] = server.asked("POST", "/ticket");
  assert.notEqual(server.token, old);
  assert.equal(last.headers.get("Authorization"), `Session ${server.token}`);
  assert.equal(client.socket.state, "open");
});

test("a session that ended meanwhile gets no ticket, and says why", async () => {
  const server = headerServer();
  const { client, clock, all } = await open(server, header);
  Object.assign(server, { session: null, reason: "admin" });
  server.connection.drop();
  await clock.advance(1);
  assert.deepEqual(all("ended").map(({ reason }) => reason), ["admin"]);
  assert.deepEqual([client.socket.state, server.session], ["closed", null]);
});

test("a session whose time ran out while the page slept is not replaced in silence", async () => {
  const server = headerServer();
  const { client, clock, page, all } = await open(server, header);
  server.isUp = false;
  server.connection.drop();
  await settle();
  clock.sleep(8 * 3600);
  Object.assign(server, { isUp: true, session: null });
  const before = server.requests.length;
  page.look();
  await settle();
  assert.deepEqual(all("ended").map(({ reason }) => reason), ["idle"]);
  assert.deepEqual([client.socket.state, server.requests.length - before], ["closed", 0]);
});

test("a ticket that comes when the page has closed opens nothing that stays open", async () => {
  const server = headerServer();
  let give;
  server.overrides.set("POST /ticket", () => new Promise((resolve) => (give = resolve)));
  const { client } = await open(server, header);
  client.close();
  give(new Response('{"ticket": "late"}', { status: 201 }));
  await settle();
  assert.deepEqual(server.connections.map(({ closed }) => closed), [1000]);
  assert.equal(client.socket.state, "closed");
});

test("a token that nobody knows any more gives way to a new session", async () => {
  const server = headerServer();
  const { client, clock, all } = await open(server, header);
  server.session = null;
  server.connection.drop();
  await clock.advance(1);
  assert.deepEqual(all("ended").map(({ reason }) => reason), [null]);
  assert.deepEqual([client.socket.state, client.session.ref], ["open", "r3"]);
});

test("where there is no session and none is started, it waits for one", async () => {
  const server = Object.assign(headerServer(), { autoStart: false });
  const { client } = await open(server, header);
  assert.deepEqual([client.socket.state, client.socket.why], ["closed", "There is no session."]);
  await client.login("ada", "right");
  await settle();
  assert.equal(client.socket.state, "open");
});

test("a ticket that is refused for now is asked for again", async () => {
  const server = headerServer();
  server.overrides.set("POST /ticket", () => problem(503, "store-unavailable", { headers: { "Retry-After": "3" } }));
  const { client, clock } = await open(server, { ...header, random: () => 0 });
  assert.deepEqual([client.socket.state, client.socket.why, client.socket.retryIn()], ["waiting", "it is store-unavailable", 3]);
  server.overrides.clear();
  await clock.advance(3);
  assert.equal(client.socket.state, "open");
});
