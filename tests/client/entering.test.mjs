// What may start a session, at the same time: the socket, `start` and `login`. There is one session in the end.

import assert from "node:assert/strict";
import { test } from "node:test";

import { clientOf, facts, FakeArea, FakeServer, json, problem, settle, tokenOf } from "./fakes.mjs";

const headerServer = () => Object.assign(new FakeServer(), { identity: "header", session: null });
const paths = (server) => server.requests.map(({ method, path }) => `${method} ${path}`);

/** Hold back the welcome of every connection; returns what lets the last one open. */
function held(server) {
  const handshake = server.handshake.bind(server);
  server.handshake = () => {};
  return () => handshake(server.connection);
}

test("start right after connect waits for the socket, and takes its session", async () => {
  const server = Object.assign(new FakeServer(), { session: null });
  const welcome = held(server);
  const { client } = clientOf(server);
  const starting = client.start();
  await settle();
  assert.deepEqual([paths(server), server.connections.length], [[], 1]);
  welcome();
  assert.equal((await starting).ref, "r2");
  await settle();
  assert.deepEqual([paths(server), server.connections.length], [["POST /session"], 1]);
  assert.deepEqual([client.socket.state, client.session.ref], ["open", "r2"]);
});

test("a header client that starts at once has one session, and one socket", async () => {
  const server = headerServer();
  const { client, all } = clientOf(server, { identity: "header" });
  const session = await client.start();
  await settle();
  assert.deepEqual([session.ref, client.session.ref, server.session.ref], ["r2", "r2", "r2"]);
  assert.deepEqual(paths(server), ["GET /session", "POST /ticket", "POST /session"]);
  assert.deepEqual([server.connections.length, client.socket.state, all("ended")], [1, "open", []]);
});

test("two who start at once, and one who logs in, come one after the other", async () => {
  const server = headerServer();
  const { client } = clientOf(server, { identity: "header", socket: false });
  let under = 0;
  const answers = { "POST /session": null, "POST /login": ({ body }) => server.logIn(body) };
  for (const name of Object.keys(answers)) {
    server.overrides.set(name, async (request) => {
      assert.equal(++under, 1);
      await settle();
      under -= 1;
      if (answers[name]) return answers[name](request);
      const isKnown = request.headers.get("Authorization") === `Session ${server.token}`;
      return isKnown ? new Response(JSON.stringify(server.session)) : server.begin(201);
    });
  }
  const [one, other, ada] = await Promise.all([client.start(), client.start(), client.login("ada", "right")]);
  assert.deepEqual([one.ref, other.ref, ada.ref, client.session.user], ["r2", "r2", "r2", "ada"]);
});

test("a log-in goes on where the one before it was refused", async () => {
  const { client } = clientOf(new FakeServer(), { socket: false });
  const wrong = client.login("ada", "wrong");
  const right = client.login("ada", "right");
  await assert.rejects(wrong, { code: "bad-credentials" });
  assert.equal((await right).user, "ada");
});

test("where the socket starts none, start does, and opens it", async () => {
  const server = Object.assign(new FakeServer(), { session: null, autoStart: false });
  const { client } = clientOf(server);
  const session = await client.start();
  await settle();
  assert.deepEqual([session.ref, client.socket.state], ["r2", "open"]);
});

test("a server that is away fails a start, and does not keep it waiting for the next attempt", async () => {
  const server = Object.assign(new FakeServer(), { session: null, isUp: false });
  const { client } = clientOf(server);
  await assert.rejects(client.start(), { code: "unreachable" });
  assert.equal(client.socket.state, "waiting");
});

test("a page that knows its session waits for nothing", async () => {
  const server = new FakeServer();
  const { client } = clientOf(server);
  await settle();
  held(server);
  server.connection.drop(4000, "session-renewed"); // on its way back, and not there
  await settle();
  assert.equal(client.socket.state, "connecting");
  assert.equal((await client.login("ada", "right")).user, "ada");
});

test("a socket that comes back between two log-ins waits for both, and they not for it", async () => {
  const server = new FakeServer();
  const { client, clock } = clientOf(server);
  await settle();
  const answers = [];
  server.overrides.set("POST /login", () => new Promise((resolve) => answers.push(resolve)));
  const first = client.login("ada", "wrong");
  await settle();
  server.end("admin", 4006);
  const second = client.login("ada", "right");
  client.socket.open(); // waits for the second, which waits for the first
  await settle();
  answers[0](problem(401, "bad-credentials"));
  await assert.rejects(first, { code: "bad-credentials" });
  await clock.advance(1);
  answers[1]?.(server.logIn({ user: "ada", password: "right" }));
  assert.equal((await second).user, "ada");
  await settle();
  assert.equal(client.socket.state, "open");
});

/** Hold back the answer to a call that is answered as of now; returns what lets it through. */
function delayed(server, call) {
  const answer = json(server.session);
  let arrive;
  const arrived = new Promise((resolve) => (arrive = () => resolve(answer)));
  server.overrides.set(call, () => arrived);
  return arrive;
}

test("an answer about the session before a log-in comes too late to bring it back, or to cost the new token", async () => {
  const area = new FakeArea();
  const server = headerServer();
  const { client, all } = clientOf(server, { remember: "tab", storage: area });
  await settle();
  const arrive = delayed(server, "POST /session/touch");
  const touching = client.touch();
  await settle();
  server.overrides.set("POST /login", () => {
    server.session = facts({ ref: "next", user: "ada", identity: "header" });
    server.token = tokenOf("next");
    return json(server.session, 200, { "Session-Token": server.token });
  });
  await client.login("ada", "right");
  await settle();
  arrive();
  assert.equal((await touching).ref, "next");
  await settle();
  const { token, ref } = JSON.parse(area.getItem("wshttp:session"));
  assert.deepEqual([client.session.user, token, ref], ["ada", server.token, "next"]);
  assert.deepEqual([client.socket.state, all("ended"), all("error")], ["open", [], []]);
});

test("an answer from before a log-in that keeps the session does not make it anonymous again", async () => {
  const server = new FakeServer();
  const { client } = clientOf(server, { socket: false });
  await client.start();
  const arrive = delayed(server, "POST /session/touch");
  const touching = client.touch();
  await client.login("ada", "right");
  arrive();
  assert.equal((await touching).user, "ada");
});

test("an answer from before a log-out does not show the session as alive", async () => {
  for (const server of [new FakeServer(), headerServer()]) {
    const { client, all } = clientOf(server, { socket: false, identity: server.identity });
    await client.start();
    const arrive = delayed(server, "POST /session/touch");
    const touching = client.touch();
    await client.endSession();
    arrive();
    assert.equal((await touching).ref, null);
    assert.deepEqual([client.session.ref, client.session.expiresIn()], [null, null]);
    assert.deepEqual(all("ended").map(({ reason }) => reason), ["logout"]);
  }
});

test("what the page asked by itself about a session is heard no more once it is another", async () => {
  const server = new FakeServer();
  const { client, clock, all } = clientOf(server, { socket: false });
  await client.start();
  const arrive = delayed(server, "GET /session?touch=0");
  await clock.advance(1203);
  assert.equal(server.asked("GET", "/session?touch=0").length, 1);
  server.session = facts({ ref: "next" });
  await client.login("ada", "right");
  arrive();
  await settle();
  assert.deepEqual([client.session.ref, client.session.user, all("ended")], ["next", "ada", []]);
});
