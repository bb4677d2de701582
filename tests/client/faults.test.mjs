// Whatever goes wrong, and wherever: nothing of it becomes an unhandled rejection, and the client is usable after.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { FakeArea, FakeServer, open, problem, settle, stalled } from "./fakes.mjs";

const unhandled = [];
const note = (error) => unhandled.push(error);
process.on("unhandledRejection", note);
after(() => process.off("unhandledRejection", note));

/** All that a page can ask for, without a look at any promise. */
function everything(client) {
  client.start();
  client.touch();
  client.login("ada", "wrong");
  client.subscribe("chat", () => {});
  client.publish("chat", 1);
  client.send(1);
  client.request(1);
  client.unsubscribe("chat");
  client.endSession();
}

const TROUBLES = {
  "nobody answers": (server) => (server.isUp = false),
  "WebSockets are blocked": (server) => (server.blocksWebSockets = true),
  "the server takes everything and says nothing": (server) => (server.isMute = true),
  "every call is a fault of the server": (server) => (server.fetch = async () => new Response("oops", { status: 500 })),
  "every call answers what is no JSON": (server) => (server.fetch = async () => new Response("<html>", { status: 200 })),
  "every call is refused": (server) => (server.fetch = async () => problem(403, "forbidden")),
  "every answer stalls": (server) => (server.fetch = async () => stalled()),
  "every refusal stalls": (server) => (server.fetch = async () => stalled(401)),
  "every session is over": (server) => (server.fetch = async () => problem(401, "session-ended", { reason: "idle" })),
  "every handshake is closed": (server) => (server.handshake = (connection) => connection.drop(1011, "internal error")),
  "nothing can be constructed": (server) => Object.defineProperty(server, "WebSocket", { value: undefined }),
};

for (const [name, trouble] of Object.entries(TROUBLES)) {
  for (const options of [{}, { remember: "browser", storage: new FakeArea() }]) {
    test(`when ${name}, ${options.remember ? "a header" : "a cookie"} client rejects nothing unseen`, async () => {
      unhandled.length = 0;
      const server = new FakeServer();
      if (options.remember) Object.assign(server, { identity: "header", session: null });
      trouble(server);
      const { client, clock, all } = await open(server, options);
      everything(client);
      await clock.advance(700);
      everything(client);
      await clock.advance(700);
      client.close();
      everything(client);
      await clock.advance(60);
      await settle();
      assert.deepEqual(unhandled, []);
      assert.ok(all("error").length > 0);
    });
  }
}

test("a failure that a page does look at is its own", async () => {
  const { client } = await open(Object.assign(new FakeServer(), { isUp: false }));
  await assert.rejects(client.touch(), { name: "WshttpError", code: "unreachable", message: "The server does not answer." });
});

test("a call that is never answered is given up", async () => {
  const { client, server, clock } = await open(new FakeServer());
  server.overrides.set("POST /session/touch", () => new Promise(() => {}));
  const touched = client.touch();
  await clock.advance(16);
  await assert.rejects(touched, { code: "unreachable" });
});

test("a call whose answer stalls half-way is given up", async () => {
  const { client, server, clock } = await open(new FakeServer());
  for (const status of [200, 401, 500]) {
    server.overrides.set("POST /session/touch", () => stalled(status));
    const touched = client.touch();
    await clock.advance(16);
    await assert.rejects(touched, { code: "unreachable" });
  }
});

test("a refusal that stalls keeps a page from nothing but its own reading", async () => {
  const { client, server, clock } = await open(new FakeServer());
  server.overrides.set("GET /page", () => stalled(401));
  const asked = client.fetch("/page");
  await clock.advance(16);
  assert.equal((await asked).status, 401);
});

test("a token whose answer stalls after it is there is kept", async () => {
  const server = Object.assign(new FakeServer(), { identity: "header", session: null });
  const { client, clock } = await open(server, { remember: "nothing", socket: false });
  server.overrides.set("POST /session", () => stalled(201, Object.fromEntries(server.begin(201).headers)));
  const started = client.start();
  await clock.advance(16);
  await assert.rejects(started, { code: "unreachable" });
  assert.equal((await client.touch()).ref, server.session.ref);
});

test("a socket that fails while answers stall is tried again", async () => {
  const server = Object.assign(new FakeServer(), { blocksWebSockets: true });
  server.overrides.set("GET /session", () => stalled());
  const { client, clock } = await open(server);
  await clock.advance(15);
  assert.deepEqual([client.socket.state, client.socket.why], ["waiting", "The server does not answer."]);
  server.blocksWebSockets = false;
  await clock.advance(1);
  assert.equal(client.socket.state, "open");
});

test("what is asked after a socket that failed has one time for all of it", async () => {
  const server = new FakeServer();
  const { client, clock } = await open(server);
  server.blocksWebSockets = true;
  server.overrides.set("GET /session?touch=0", async () => {
    await new Promise((resolve) => clock.setTimeout(resolve, 10_000));
    return problem(401, "session-ended"); // nobody knows why
  });
  server.overrides.set("GET /session", () => stalled());
  server.connection.drop();
  await clock.advance(0.5 + 14);
  assert.deepEqual([client.socket.state, server.asked("GET", "/session").length], ["connecting", 1]);
  await clock.advance(1);
  assert.equal(client.socket.state, "waiting");
});

test("a socket does not wait for ever for a log-in whose answer stalls", async () => {
  const { client, server, clock } = await open(new FakeServer());
  server.overrides.set("POST /login", () => stalled());
  const entered = client.login("ada", "right");
  await settle();
  server.connection.drop(4000, "session-renewed");
  await clock.advance(60);
  await assert.rejects(entered, { code: "unreachable" });
  assert.equal(client.socket.state, "open");
});
