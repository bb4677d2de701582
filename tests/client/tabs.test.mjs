// Two tabs with one session: what one hears, the other knows.

import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeArea, FakeChannels, FakeServer, facts, open, settle } from "./fakes.mjs";

/** Two tabs; those with a server of their own each hear nothing from it of what the other does. */
async function tabs({ session = facts(), other = session, ...options } = {}) {
  const channels = new FakeChannels();
  const opened = [];
  for (const each of [session, other]) {
    const server = Object.assign(new FakeServer(), { session: { ...each } });
    opened.push(await open(server, { channel: channels.open(), clock: opened[0]?.clock, ...options }));
  }
  return { channels, one: opened[0], two: opened[1] };
}

test("log-out in one tab ends the session in all, with the reason", async () => {
  const { one, two } = await tabs();
  await one.client.endSession();
  assert.deepEqual(two.all("ended").map(({ ref, reason }) => [ref, reason]), [["r1", "logout"]]);
  assert.deepEqual([two.client.session.ref, two.client.socket.state], [null, "closed"]);
  assert.match(two.client.socket.why, /in another tab/);
});

test("an end that a tab hears from the server is told to the others, and comes to each but once", async () => {
  const { channels, one, two } = await tabs();
  one.server.end("admin", 4006);
  two.server.end("admin", 4006);
  assert.deepEqual([one, two].map(({ all }) => all("ended").map((end) => end.reason)), [["admin"], ["admin"]]);
  assert.ok(channels.posted.filter(({ type }) => type === "ended").length <= 2);
});

test("another session in another tab is none of their business", async () => {
  const { one, two } = await tabs({ other: facts({ ref: "another" }) });
  await one.client.endSession();
  assert.deepEqual([two.client.session.ref, two.client.socket.state], ["another", "open"]);
});

test("time that one tab gets, all have", async () => {
  const { one, two } = await tabs({ socket: false });
  await one.client.start();
  await two.client.start();
  await one.clock.advance(600);
  await one.client.touch();
  assert.equal(two.client.session.expiresIn(), 1200);
  assert.deepEqual(two.server.requests.length, 1);
});

test("what another tab heard long ago does not shorten what is known now", async () => {
  const { channels, two } = await tabs();
  const late = channels.open();
  late.postMessage({ type: "prolonged", ref: "r1", until: two.clock.now() + 5000 });
  assert.equal(two.client.session.expiresIn(), 1200);
});

test("what other scripts say on the channel harms nobody", async () => {
  const { channels, one } = await tabs();
  const other = channels.open();
  for (const message of [null, undefined, 5, "ended", [], {}, { type: "ended" }, { type: "ended", ref: null },
    { type: "ended", ref: "r1" }, { type: "ended", ref: "r1", reason: { toString: 1, valueOf: 1 } }])
    other.postMessage(message);
  for (const until of ["never", NaN, undefined, {}]) other.postMessage({ type: "prolonged", ref: "r1", until });
  assert.deepEqual([one.client.session.ref, one.client.session.expiresIn(), one.all("ended")], ["r1", 1200, []]);
});

test("nothing of a token goes through the channel", async () => {
  const channels = new FakeChannels();
  const server = Object.assign(new FakeServer(), { identity: "header", session: null });
  const { client } = await open(server, { remember: "browser", storage: new FakeArea(), channel: channels.open() });
  await client.login("ada", "right");
  await settle();
  assert.ok(channels.posted.length > 0);
  assert.ok(!JSON.stringify(channels.posted).includes("token"));
});

test("a log-in in one tab gives the other its new token", async () => {
  const [channels, area] = [new FakeChannels(), new FakeArea()];
  const server = Object.assign(new FakeServer(), { identity: "header", session: null });
  const one = await open(server, { remember: "browser", storage: area, channel: channels.open() });
  const two = await open(server, { remember: "browser", storage: area, channel: channels.open(), clock: one.clock });
  await one.client.login("ada", "right");
  server.connections[1].drop(4000, "session-renewed");
  await settle();
  assert.deepEqual([two.client.session.user, two.client.socket.state], ["ada", "open"]);
});

test("after close a tab neither hears nor says anything", async () => {
  const { channels, one, two } = await tabs();
  two.client.close();
  await one.client.endSession();
  assert.deepEqual(two.all("ended"), []);
  const posted = channels.posted.length;
  await two.client.touch();
  assert.equal(channels.posted.length, posted);
});
