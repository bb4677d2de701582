// What is said over the socket: topics, presence, questions and answers, and what waits while there is no connection.

import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeServer, open, problem, settle } from "./fakes.mjs";

const ada = { ref: "a", user: "ada", connections: 1 };
const bob = { ref: "b", user: "bob" };

test("who subscribes hears what is published there, and learns who is in", async () => {
  const { client, server, all } = await open(new FakeServer());
  const heard = [];
  const members = await client.subscribe("chat", (data, message) => heard.push([data, message.topic]));
  assert.deepEqual(members, [{ ref: "r1", user: null, connections: 1 }]);
  server.publish("chat", "hello");
  server.publish("elsewhere", "not for us");
  assert.deepEqual(heard, [["hello", "chat"]]);
  assert.deepEqual(all("message").map(({ data }) => data), ["hello"]);
});

test("several listeners share a topic, and the last one leaves it", async () => {
  const { client, server } = await open(new FakeServer());
  const heard = [];
  const [one, two] = [(data) => heard.push(`one ${data}`), (data) => heard.push(`two ${data}`)];
  await client.subscribe("chat", one);
  await client.subscribe("chat", two);
  server.publish("chat", 1);
  client.unsubscribe("chat", one);
  server.publish("chat", 2);
  assert.deepEqual([server.connection.of("subscribe").length, server.connection.of("unsubscribe").length], [1, 0]);
  client.unsubscribe("chat", two);
  server.publish("chat", 3);
  assert.equal(server.connection.of("unsubscribe")[0].topic, "chat");
  assert.deepEqual(heard, ["one 1", "two 1", "two 2"]);
});

test("leaving without naming a listener takes out all; leaving where one is not says nothing", async () => {
  const { client, server } = await open(new FakeServer());
  await client.subscribe("chat", () => {});
  await client.subscribe("chat", () => {});
  client.unsubscribe("chat");
  client.unsubscribe("chat");
  client.unsubscribe("never");
  assert.equal(server.connection.of("unsubscribe").length, 1);
});

test("topics are joined again on every connection, those that were left are not", async () => {
  const { client, server, clock } = await open(new FakeServer());
  await client.subscribe("chat", () => {});
  await client.subscribe("news", () => {});
  server.connection.drop();
  client.unsubscribe("news");
  await clock.advance(1);
  assert.deepEqual(server.connection.sent.map(({ type, topic }) => [type, topic]), [["subscribe", "chat"]]);
});

test("a topic that is joined while there is no connection is joined with the next", async () => {
  const server = Object.assign(new FakeServer(), { isUp: false });
  const { client, clock } = await open(server);
  const joined = client.subscribe("chat", () => {});
  server.isUp = true;
  await clock.advance(1);
  assert.equal((await joined).length, 1);
});

test("a topic that is refused is forgotten, and says why", async () => {
  const { client, server, clock, all } = await open(new FakeServer());
  server.heard = (connection, { id }) => connection.tell({ type: "error", id, code: "forbidden", detail: "not you" });
  await assert.rejects(client.subscribe("staff", () => {}), { code: "forbidden", message: "not you" });
  assert.deepEqual(all("error").map(({ code }) => code), ["forbidden"]);
  server.connection.drop();
  await clock.advance(1);
  assert.deepEqual(server.connection.sent, []);
});

test("a topic that is refused when it is joined again is an error of its own", async () => {
  const { client, server, clock, all } = await open(new FakeServer());
  await client.subscribe("staff", () => {});
  server.heard = (connection, { id }) => connection.tell({ type: "error", id, code: "forbidden", detail: "not any more" });
  server.connection.drop();
  await clock.advance(1);
  assert.deepEqual(all("error").map(({ message }) => message), ["not any more"]);
});

test("a topic that the store kept from being joined is tried again", async () => {
  const { client, server, clock } = await open(new FakeServer());
  const { heard } = server;
  server.heard = (connection, { id }) => connection.tell({ type: "error", id, code: "store-unavailable", detail: "away" });
  const joined = client.subscribe("chat", () => {});
  await settle();
  server.heard = heard;
  await clock.advance(5);
  assert.equal((await joined).length, 1);
});

test("presence follows who comes and who goes", async () => {
  const { client, server, all } = await open(new FakeServer());
  await client.subscribe("chat", () => {});
  server.connection.tell({ type: "presence", topic: "chat", members: [ada] });
  server.connection.tell({ type: "joined", topic: "chat", member: bob });
  assert.deepEqual(client.members("chat"), [ada, bob]);
  server.connection.tell({ type: "joined", topic: "chat", member: { ref: "a", user: "Ada" } });
  server.connection.tell({ type: "left", topic: "chat", member: bob });
  server.connection.tell({ type: "left", topic: "chat", member: bob });
  assert.deepEqual(client.members("chat"), [{ ref: "a", user: "Ada", connections: 1 }]);
  assert.deepEqual([all("joined").length, all("left").length], [2, 1]);
  assert.deepEqual(client.members("elsewhere"), []);
});

test("publishing tells how many received it", async () => {
  const { client, server } = await open(new FakeServer());
  assert.equal(await client.publish("chat", { text: "hello" }), 1);
  const [{ topic, data }] = server.connection.of("publish");
  assert.deepEqual([topic, data], ["chat", { text: "hello" }]);
});

test("a question gets its own answer, whatever the order", async () => {
  const { client, server } = await open(new FakeServer());
  server.isMute = true;
  const [one, two] = [client.request("one"), client.request("two")];
  const [first, second] = server.connection.of("app");
  server.connection.tell({ type: "ok", id: second.id, data: 2 });
  server.connection.tell({ type: "ok", id: first.id, data: 1 });
  assert.deepEqual(await Promise.all([one, two]), [1, 2]);
});

test("a question that is refused, and one whose answer does not come in time, fail", async () => {
  const { client, server, clock, all } = await open(new FakeServer());
  server.isMute = true;
  const refused = client.request("what?");
  server.connection.tell({ type: "error", id: server.connection.sent[0].id, code: "bad-request", detail: "what?" });
  await assert.rejects(refused, { code: "bad-request" });
  const slow = client.request("slow", { timeout: 3 });
  await clock.advance(3);
  await assert.rejects(slow, { code: "timeout" });
  server.connection.tell({ type: "ok", id: server.connection.sent[1].id, data: "too late" });
  assert.deepEqual(all("error").map(({ code }) => code), ["bad-request", "timeout"]);
});

test("a question that still waits for a connection when its time is over is not asked any more", async () => {
  const { client, server, clock } = await open(Object.assign(new FakeServer(), { isUp: false }), { random: () => 1 });
  const asked = client.request("?", { timeout: 0.5 });
  await clock.advance(0.6);
  server.isUp = true;
  await clock.advance(5);
  await assert.rejects(asked, { code: "timeout" });
  assert.deepEqual([client.socket.state, server.connection.sent], ["open", []]);
});

test("what is never answered does not wait for ever", async () => {
  const { client, server, clock, all } = await open(Object.assign(new FakeServer(), { offers: {} }));
  server.isMute = true;
  const said = [client.publish("chat", 1e17), client.send(1)];
  await clock.advance(59);
  server.connection.tell({ type: "error", code: "bad-request", detail: "whatever it was" });
  assert.deepEqual(all("error").map(({ code }) => code), ["bad-request"]);
  await clock.advance(1);
  for (const each of said) await assert.rejects(each, { code: "timeout" });
});

test("what waits for a connection is not given up", async () => {
  const { client, server, clock } = await open(Object.assign(new FakeServer(), { isUp: false }));
  const said = client.publish("chat", 1);
  await clock.advance(300);
  server.isUp = true;
  await clock.advance(30);
  assert.equal(await said, 1);
});

test("a topic that is not answered is asked for again", async () => {
  const { client, server, clock } = await open(Object.assign(new FakeServer(), { offers: {} }));
  server.isMute = true;
  const joined = client.subscribe("chat", () => {});
  await clock.advance(60);
  server.isMute = false;
  await clock.advance(5);
  assert.equal((await joined).length, 1);
});

test("while the network takes nothing more, messages wait in order, and only so many", async () => {
  const { client, server, clock } = await open(new FakeServer(), { queue: 3 });
  server.isMute = true;
  const first = client.publish("chat", 0);
  server.connection.bufferedAmount = 2 ** 20 + 1;
  const said = [1, 2].map((data) => client.publish("chat", data));
  const late = client.request("late");
  const refused = client.publish("chat", "too much");
  await assert.rejects(refused, { code: "queue-full" });
  await clock.advance(10);
  await assert.rejects(late, { code: "timeout" });
  Object.assign(server, { isMute: false });
  server.connection.bufferedAmount = 0;
  said.push(client.publish("chat", 3));
  assert.equal(server.connection.sent.length, 1);
  server.connection.tell({ type: "ok", id: server.connection.of("publish")[0].id, receivers: 1 });
  assert.deepEqual(await Promise.all([first, ...said]), [1, 1, 1, 1]);
  assert.deepEqual(server.connection.of("publish").map(({ data }) => data), [0, 1, 2, 3]);
});

test("what waits for the network does not wait for an answer that does not come", async () => {
  const { client, server, clock } = await open(new FakeServer());
  server.isMute = true;
  client.request("slow", { timeout: 3 });
  server.connection.bufferedAmount = 2 ** 20 + 1;
  client.publish("chat", 1);
  server.connection.bufferedAmount = 0;
  await clock.advance(3);
  assert.deepEqual(server.connection.of("publish").map(({ data }) => data), [1]);
});

test("what is said in answer to a close fails at once", async () => {
  const { client } = await open(new FakeServer());
  const said = new Promise((resolve) => client.on("close", () => client.publish("chat", 1).catch(resolve)));
  await client.endSession();
  assert.equal((await said).code, "closed");
});

test("what the application sends comes as a message without a topic", async () => {
  const { server, all } = await open(new FakeServer());
  server.connection.tell({ type: "queue", dropped: 3 });
  server.connection.tell({ type: "app", data: 1, queued: true });
  server.connection.tell({ type: "app", data: 2 });
  assert.deepEqual(all("message"), [
    { topic: null, data: 1, from: null, queued: true },
    { topic: null, data: 2, from: null, queued: false },
  ]);
  assert.deepEqual(all("gap"), [{ topic: null, missed: 3 }]);
});

test("what is sent while there is no connection waits, in order, and after the topics", async () => {
  const { client, server, clock } = await open(new FakeServer());
  await client.subscribe("chat", () => {});
  server.connection.drop();
  const said = [client.publish("chat", 1), client.send(2), client.publish("chat", 3)];
  await clock.advance(1);
  assert.deepEqual(await Promise.all(said), [1, undefined, 1]);
  assert.deepEqual(server.connection.sent.map(({ type, data }) => [type, data]), [
    ["subscribe", undefined], ["publish", 1], ["app", 2], ["publish", 3],
  ]);
});

test("only so much waits, and what finds no room is refused at once", async () => {
  const { client, server, clock } = await open(Object.assign(new FakeServer(), { isUp: false }), { queue: 2 });
  const said = [1, 2, 3].map((data) => client.publish("chat", data));
  await assert.rejects(said[2], { code: "queue-full" });
  server.isUp = true;
  await clock.advance(5);
  assert.deepEqual(server.connection.of("publish").map(({ data }) => data), [1, 2]);
});

test("what was on its way when the connection was lost may have arrived, so it is not sent again", async () => {
  const { client, server, clock } = await open(new FakeServer());
  server.isMute = true;
  const said = client.publish("chat", 1);
  server.connection.drop();
  await assert.rejects(said, { code: "connection-lost" });
  await clock.advance(1);
  assert.deepEqual([client.socket.state, server.connection.sent], ["open", []]);
});

test("what waits is not sent in the name of another session", async () => {
  const { client, server, clock } = await open(new FakeServer());
  server.connection.drop();
  const said = client.publish("chat", "from me");
  server.session = null;
  await clock.advance(5);
  await assert.rejects(said, { code: "closed" });
  assert.deepEqual([client.session.ref, server.connection.sent], ["r2", []]);
});

test("where nothing is waited for, what is sent fails at once, and says why", async () => {
  const { client, server } = await open(new FakeServer());
  server.end("idle", 4002);
  await assert.rejects(client.send(1), { code: "closed", message: /nobody used it/ });
  await assert.rejects(client.publish("chat", 1), { code: "closed" });
  await assert.rejects(client.request(1), { code: "closed" });
});

test("what waits for a connection that will not be is refused", async () => {
  const { client, server } = await open(new FakeServer());
  server.connection.drop();
  server.blocksWebSockets = true;
  server.overrides.set("GET /session?touch=0", () => problem(403, "forbidden"));
  const said = client.publish("chat", 1);
  client.socket.open();
  await assert.rejects(said, { code: "closed", message: "it is forbidden" });
});

test("an error that answers nothing is told", async () => {
  const { server, all } = await open(new FakeServer());
  server.connection.tell({ type: "error", code: "bad-request", detail: "this is not JSON" });
  assert.deepEqual(all("error").map(({ code, message }) => [code, message]), [["bad-request", "this is not JSON"]]);
});
