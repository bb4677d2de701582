// Whatever goes wrong, and wherever: nothing of it becomes an unhandled rejection, and the client is usable after.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { FakeArea, FakeServer, open, problem, settle } from "./fakes.mjs";

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
