// After a drop: nothing twice, nothing left out, and the truth where that cannot be.

import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeServer, open } from "./fakes.mjs";

function historyServer(...messages) {
  return Object.assign(new FakeServer(), { history: { life: "L1", messages, kept: 100 } });
}

async function listening(server, options) {
  const heard = [];
  const all = await open(server);
  await all.client.subscribe("chat", (data) => heard.push(data), options);
  return { ...all, heard };
}

test("a first subscription learns where it is, and gets nothing old", async () => {
  const { all, heard } = await listening(historyServer("old", "older"));
  assert.deepEqual(heard, []);
  assert.deepEqual(all("resumed"), [{ topic: "chat", life: "L1", offset: 2, whole: true }]);
  assert.deepEqual(all("gap"), []);
});

test("what was said meanwhile comes after a drop, once and in order", async () => {
  const { server, clock, heard, all } = await listening(historyServer("old"));
  server.publish("chat", 1);
  server.connection.drop();
  const gone = server.connection;
  gone.closed = 1006;
  server.publish("chat", 2);
  server.publish("chat", 3);
  await clock.advance(1);
  assert.deepEqual(server.connection.of("subscribe")[0].after, { life: "L1", offset: 2 });
  server.publish("chat", 4);
  assert.deepEqual(heard, [1, 2, 3, 4]);
  assert.deepEqual([all("resumed").at(-1).whole, all("gap")], [true, []]);
});

test("a quiet topic is resumed from where it was when it was joined", async () => {
  const { server, clock, heard } = await listening(historyServer("old"));
  server.connection.drop();
  server.connection.closed = 1006;
  server.publish("chat", "missed");
  await clock.advance(1);
  assert.deepEqual(heard, ["missed"]);
});

test("when not all of it is kept any more, the rest comes and the gap is told", async () => {
  const { server, clock, heard, all } = await listening(historyServer());
  server.publish("chat", 1);
  server.connection.drop();
  server.connection.closed = 1006;
  for (const data of [2, 3, 4, 5]) server.publish("chat", data);
  server.history.kept = 2;
  await clock.advance(1);
  assert.deepEqual(heard, [1, 4, 5]);
  assert.deepEqual(all("gap"), [{ topic: "chat", missed: null }]);
  server.publish("chat", 6);
  server.connection.drop();
  await clock.advance(10);
  assert.deepEqual(server.connection.of("subscribe")[0].after, { life: "L1", offset: 6 });
});

test("another life of the history is a gap, and goes on from there", async () => {
  const { server, clock, heard, all } = await listening(historyServer());
  for (const data of [1, 2, 3]) server.publish("chat", data);
  server.connection.drop();
  server.connection.closed = 1006;
  server.history = { life: "L2", messages: ["a"], kept: 100 };
  await clock.advance(1);
  server.publish("chat", "b");
  assert.deepEqual(heard, [1, 2, 3, "a", "b"]);
  assert.deepEqual(all("gap").length, 1);
});

test("a history that is forgotten while we listen begins again at one", async () => {
  const { server, heard, all } = await listening(historyServer());
  for (const data of [1, 2]) server.publish("chat", data);
  server.history = { life: "L2", messages: [], kept: 100 };
  server.publish("chat", "new");
  assert.deepEqual([heard, all("gap")], [[1, 2, "new"], []]);
});

test("what came early in one life is not taken for a message of the next", async () => {
  const { server, heard } = await listening(historyServer());
  for (const [life, offset] of [["L1", 1], ["L1", 3], ["L2", 1], ["L2", 2], ["L2", 3]])
    server.connection.tell({ type: "message", topic: "chat", data: life + offset, from: null, life, offset });
  assert.deepEqual(heard, ["L11", "L13", "L21", "L22", "L23"]);
});

test("a message of an old life that comes late is told, once, and moves nothing", async () => {
  const { server, clock, heard } = await listening(historyServer());
  const told = [["L1", 1], ["L2", 1], ["L1", 2], ["L2", 2], ["L1", 1], ["L1", 2], ["L2", 1], ["L2", 3]];
  for (const [life, offset] of told)
    server.connection.tell({ type: "message", topic: "chat", data: life + offset, from: null, life, offset });
  assert.deepEqual(heard, ["L11", "L21", "L12", "L22", "L23"]);
  server.connection.drop();
  await clock.advance(1);
  assert.deepEqual(server.connection.of("subscribe")[0].after, { life: "L2", offset: 3 });
});

test("what comes twice, or late, is told once", async () => {
  const { server, heard } = await listening(historyServer());
  const tell = (offset) =>
    server.connection.tell({ type: "message", topic: "chat", data: offset, from: null, life: "L1", offset });
  for (const offset of [1, 3, 3, 2, 3, 1, 2, 4]) tell(offset);
  assert.deepEqual(heard, [1, 3, 2, 4]);
});

test("after a message that came early, a drop asks from where all is known", async () => {
  const { server, clock } = await listening(historyServer());
  for (const offset of [1, 3])
    server.connection.tell({ type: "message", topic: "chat", data: offset, from: null, life: "L1", offset });
  server.connection.drop();
  await clock.advance(1);
  assert.deepEqual(server.connection.of("subscribe")[0].after, { life: "L1", offset: 1 });
});

test("a message that was left out is asked for, and comes late but once", async () => {
  const { server, clock, heard, all } = await listening(historyServer());
  server.publish("chat", 1);
  server.history.messages.push(2);
  server.publish("chat", 3);
  await clock.advance(1.9);
  assert.deepEqual(heard, [1, 3]);
  await clock.advance(0.2);
  assert.deepEqual(server.connection.of("subscribe")[1].after, { life: "L1", offset: 1 });
  assert.deepEqual([heard, all("gap")], [[1, 3, 2], []]);
  await clock.advance(60);
  assert.equal(server.connection.of("subscribe").length, 2);
});

test("a message that was left out and is no longer kept is a gap", async () => {
  const { server, clock, heard, all } = await listening(historyServer());
  server.publish("chat", 1);
  server.history.messages.push(2);
  server.publish("chat", 3);
  server.history.kept = 1;
  await clock.advance(3);
  assert.deepEqual([heard, all("gap").length], [[1, 3], 1]);
});

test("a message that was late by a moment is not asked for", async () => {
  const { server, clock } = await listening(historyServer());
  for (const offset of [2, 1])
    server.connection.tell({ type: "message", topic: "chat", data: offset, from: null, life: "L1", offset });
  await clock.advance(10);
  assert.equal(server.connection.of("subscribe").length, 1);
});

test("messages that are never for us do not hold us back for ever", async () => {
  const { server, clock, heard } = await listening(historyServer());
  for (let offset = 2; offset <= 2500; offset += 1)
    server.connection.tell({ type: "message", topic: "chat", data: offset, from: null, life: "L1", offset });
  assert.equal(heard.length, 2499);
  server.connection.drop();
  await clock.advance(1);
  assert.equal(server.connection.of("subscribe")[0].after.offset, 2500);
});

test("a topic without a history is simply joined again", async () => {
  const { server, clock, heard, all } = await listening(new FakeServer());
  server.publish("chat", 1);
  server.connection.drop();
  await clock.advance(1);
  assert.ok(!("after" in server.connection.of("subscribe")[0]));
  server.publish("chat", 1);
  assert.deepEqual([heard, all("resumed")], [[1, 1], []]);
});

test("a page that kept its place itself goes on from there", async () => {
  const { heard } = await listening(historyServer("a", "b", "c"), { after: { life: "L1", offset: 1 } });
  assert.deepEqual(heard, ["b", "c"]);
});

test("from the beginning comes all that is kept, and that is the whole", async () => {
  const server = historyServer("a", "b", "c");
  server.history.kept = 2;
  const { heard, all } = await listening(server, { after: "beginning" });
  assert.deepEqual(server.connection.of("subscribe")[0].after, { life: "", offset: 0 });
  assert.deepEqual([heard, all("gap")], [["b", "c"], []]);
  assert.deepEqual(all("resumed"), [{ topic: "chat", life: "L1", offset: 3, whole: true }]);
});

test("who began at the beginning goes on from its place, and a gap is one again", async () => {
  const { server, clock, heard, all } = await listening(historyServer("a"), { after: "beginning" });
  server.connection.drop();
  server.connection.closed = 1006;
  for (const data of ["b", "c", "d"]) server.publish("chat", data);
  server.history.kept = 1;
  await clock.advance(1);
  assert.deepEqual(server.connection.of("subscribe")[0].after, { life: "L1", offset: 1 });
  assert.deepEqual([heard, all("gap").length], [["a", "d"], 1]);
});

test("a word that is no place is a mistake", async () => {
  const { client } = await open(historyServer());
  assert.throws(() => client.subscribe("chat", () => {}, { after: "begining" }), { name: "TypeError", message: /"beginning"/ });
  assert.deepEqual(client.members("chat"), []);
});

test("who leaves and joins anew begins anew", async () => {
  const { client, server, heard } = await listening(historyServer());
  server.publish("chat", 1);
  client.unsubscribe("chat");
  server.history.messages.push("while away");
  await client.subscribe("chat", (data) => heard.push(data));
  server.publish("chat", 3);
  assert.deepEqual(heard, [1, 3]);
});
