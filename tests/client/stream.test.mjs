// Where WebSockets are blocked: the same messages over server-sent events and POST, and back as soon as may be.

import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeServer, open, problem, settle } from "./fakes.mjs";

/** A client on a stream: two WebSockets in a row did not open. */
async function streaming(server = new FakeServer(), options) {
  server.blocksWebSockets = true;
  const all = await open(server, options);
  await all.clock.advance(5);
  return all;
}

test("after two WebSockets that did not open it takes a stream, and says so", async () => {
  const { client, server, all } = await streaming();
  assert.deepEqual(server.connections.map(({ kind }) => kind), ["websocket", "websocket", "stream"]);
  assert.deepEqual([client.socket.state, client.socket.via], ["open", "stream"]);
  assert.equal(server.connection.url.href, "http://server.test/wshttp/stream");
  assert.equal(all("open")[0].via, "stream");
});

test("a server that is away altogether is no reason for a stream", async () => {
  const server = Object.assign(new FakeServer(), { isUp: false });
  const { clock } = await open(server);
  await clock.advance(300);
  assert.ok(server.connections.length > 5);
  assert.ok(server.connections.every(({ kind }) => kind === "websocket"));
});

test("without server-sent events it goes on with WebSockets", async () => {
  const { client, server, clock } = await streaming(new FakeServer(), { EventSource: null });
  await clock.advance(60);
  assert.ok(server.connections.every(({ kind }) => kind === "websocket"));
  assert.equal(client.socket.state, "waiting");
  assert.match(client.socket.why, /does not open/);
});

test("a server that has said that it has no streams is not asked for one", async () => {
  const server = new FakeServer();
  server.offers.stream = false;
  const { client, clock } = await open(server);
  server.blocksWebSockets = true;
  server.connection.drop();
  await clock.advance(60);
  assert.ok(server.connections.length > 3);
  assert.ok(server.connections.every(({ kind }) => kind === "websocket"));
  assert.equal(client.socket.state, "waiting");
});

test("what is said goes up by POST, one after the other, and the answers come down", async () => {
  const { client, server } = await streaming();
  const turns = [];
  server.overrides.set("POST /send", async ({ body }) => {
    turns.push(`${body.message.data} begins`);
    await new Promise(setImmediate);
    turns.push(`${body.message.data} ends`);
    server.connection.heard(body.message);
    return new Response(null, { status: 202 });
  });
  assert.deepEqual(await Promise.all([client.publish("chat", 1), client.publish("chat", 2)]), [1, 1]);
  assert.deepEqual(turns, ["1 begins", "1 ends", "2 begins", "2 ends"]);
  assert.equal(server.asked("POST", "/send")[0].body.connection, server.connection.name);
});

test("topics, and what the server sends, are the same as on a WebSocket", async () => {
  const { client, server, all } = await streaming();
  const heard = [];
  await client.subscribe("chat", (data) => heard.push(data));
  server.publish("chat", "hello");
  server.connection.tell({ type: "app", data: 7 });
  assert.deepEqual([heard, all("message").length], [["hello"], 2]);
  assert.equal(await client.publish("chat", 1), 1);
});

test("its last event says why it closed, and that means the same", async () => {
  const { client, server, all } = await streaming();
  server.end("logout", 4001);
  assert.deepEqual([client.socket.state, server.connection.closed], ["closed", 1000]);
  assert.deepEqual(all("ended").map(({ reason }) => reason), ["logout"]);

  const other = await streaming();
  other.server.connection.drop(4000, "session-renewed");
  await settle();
  assert.deepEqual([other.client.socket.state, other.client.socket.via], ["open", "stream"]);
});

test("a stream that breaks is closed, or it would come back with a ticket that is used up", async () => {
  const server = Object.assign(new FakeServer(), { identity: "header", session: null });
  const { client, clock } = await streaming(server, { identity: "header" });
  const first = server.connection;
  assert.ok(first.url.searchParams.get("ticket"));
  first.drop();
  assert.deepEqual([first.closed, client.socket.state], [1000, "waiting"]);
  await clock.advance(5);
  assert.deepEqual([client.socket.state, server.connection.kind], ["open", "stream"]);
  assert.notEqual(server.connection.url.search, first.url.search);
});

test("a message that finds its connection gone means that the stream is dead", async () => {
  const { client, server, clock } = await streaming();
  server.overrides.set("POST /send", () => problem(404, "not-found"));
  await assert.rejects(client.publish("chat", 1), { code: "connection-lost" });
  assert.equal(client.socket.state, "waiting");
  server.overrides.clear();
  await clock.advance(10);
  assert.equal(client.socket.state, "open");
});

test("a connection that another node has not heard of yet is asked for once more", async () => {
  const { client, server, clock, all } = await streaming(new FakeServer(), { queue: 0 });
  server.connection.drop();
  await clock.advance(client.socket.retryIn());
  server.overrides.set("POST /send", () => problem(404, "not-found"));
  const said = [client.publish("chat", 1), client.publish("chat", 2)];
  await clock.advance(0.9);
  assert.deepEqual([client.socket.state, server.asked("POST", "/send").length], ["open", 1]);
  server.overrides.clear();
  await clock.advance(0.2);
  assert.deepEqual(await Promise.all(said), [1, 1]);
  assert.deepEqual(server.connection.of("publish").map(({ data }) => data), [1, 2]);
  assert.equal(all("close").length, 1);
});

test("one that nobody has heard of a second later is dead", async () => {
  const { client, server, clock } = await streaming();
  server.connection.drop();
  await clock.advance(client.socket.retryIn());
  server.overrides.set("POST /send", () => problem(404, "not-found"));
  const said = client.publish("chat", 1);
  await clock.advance(1);
  await assert.rejects(said, { code: "connection-lost" });
  assert.deepEqual([client.socket.state, server.asked("POST", "/send").length], ["waiting", 2]);
});

test("a message that cannot be read is refused, and the stream lives on", async () => {
  const { client, server, all } = await streaming();
  server.overrides.set("POST /send", ({ body }) => {
    if (body.message.data === 1e17) return problem(400, "bad-request");
    server.connection.heard(body.message);
    return new Response(null, { status: 202 });
  });
  const said = [client.publish("chat", 1e17), client.publish("chat", 1)];
  await assert.rejects(said[0], { code: "bad-request", message: "it is bad-request" });
  assert.equal(await said[1], 1);
  assert.deepEqual([client.socket.state, all("close")], ["open", []]);
});

test("what a stream cannot send yet waits where it can be given up, and only so much", async () => {
  const { client, server, clock } = await streaming(new FakeServer(), { queue: 2 });
  server.overrides.set("POST /send", () => problem(429, "too-many-requests", { headers: { "Retry-After": "1" } }));
  const said = Array.from({ length: 11 }, (_, index) => client.publish("chat", index));
  const late = client.request("late", { timeout: 3 });
  await assert.rejects(client.publish("chat", "too much"), { code: "queue-full" });
  await clock.advance(3.1);
  await assert.rejects(late, { code: "timeout" });
  server.overrides.clear();
  await clock.advance(1);
  await Promise.all(said);
  assert.deepEqual(server.connection.of("publish").map(({ data }) => data), said.map((_, index) => index));
  assert.deepEqual(server.connection.of("app"), []);
});

test("what was taken for a connection that nobody has any more does not wait for ever", async () => {
  const { client, server, clock } = await streaming(Object.assign(new FakeServer(), { offers: {} }));
  server.overrides.set("POST /send", () => new Response(null, { status: 202 })); // and lost with its node
  const said = [client.publish("chat", 1), client.send(1)];
  const joined = client.subscribe("chat", () => {});
  const ends = said.map((each) => each.catch(({ code }) => code));
  await clock.advance(59.9);
  assert.equal(await Promise.race([...ends, "none yet"]), "none yet");
  await clock.advance(0.2);
  assert.deepEqual(await Promise.all(ends), ["timeout", "timeout"]);
  server.overrides.clear();
  await clock.advance(5);
  assert.equal((await joined).length, 1);
});

test("a stream on which nothing comes any more is lost, and what was sent on it refused, before that", async () => {
  const { client, server, clock, all } = await streaming();
  server.overrides.set("POST /send", () => new Response(null, { status: 202 }));
  const said = client.publish("chat", 1);
  await clock.advance(45 + 10);
  assert.deepEqual(all("close").map(({ code }) => code), [1006]);
  await assert.rejects(said, { code: "connection-lost" });
});

test("a stream that is closed while the server is busy asks no more", async () => {
  const { client, server, clock } = await streaming();
  server.overrides.set("POST /send", () => problem(429, "too-many-requests"));
  client.publish("chat", 1);
  client.publish("chat", 2);
  await settle();
  client.close();
  assert.equal(clock.pending, 0);
  await clock.advance(10);
  assert.equal(server.asked("POST", "/send").length, 1);
});

test("a server that is still busy with what came before is given time", async () => {
  const { client, server, clock, all } = await streaming();
  server.overrides.set("POST /send", () => problem(429, "too-many-requests", { headers: { "Retry-After": "1" } }));
  const said = client.publish("chat", 1);
  await clock.advance(0.9);
  server.overrides.clear();
  await clock.advance(0.2);
  assert.equal(await said, 1);
  assert.deepEqual(all("close"), []);
});

test("a message that is too big closes a stream as it does a WebSocket", async () => {
  const { client, server, all } = await streaming();
  server.overrides.set("POST /send", () => problem(413, "bad-request"));
  await assert.rejects(client.publish("chat", "x"), { code: "connection-lost" });
  assert.deepEqual(all("close").map(({ code }) => code), [1009]);
});

test("it tries a WebSocket again later, beside the stream, and changes over without a close", async () => {
  const { client, server, clock, all } = await streaming();
  server.history = { life: "L1", messages: [], kept: 100 };
  const heard = [];
  await client.subscribe("chat", (data) => heard.push(data));
  server.publish("chat", 1);
  const stream = server.connection;
  await clock.advance(290);
  assert.equal(server.connection, stream);
  server.blocksWebSockets = false;
  await clock.advance(30);
  assert.deepEqual([client.socket.state, client.socket.via], ["open", "websocket"]);
  assert.deepEqual([stream.closed, server.connection.closed, all("close")], [1000, null, []]);
  server.publish("chat", 2);
  assert.deepEqual(server.connection.of("subscribe")[0].after, { life: "L1", offset: 1 });
  assert.deepEqual(heard, [1, 2]);
});

test("a question that the stream took with it does not wait for an answer", async () => {
  const { client, server, clock } = await streaming();
  await clock.advance(295);
  server.blocksWebSockets = false;
  server.isMute = true;
  const said = client.publish("chat", 1);
  await clock.advance(30);
  assert.equal(client.socket.via, "websocket");
  await assert.rejects(said, { code: "connection-lost" });
});

test("a WebSocket that is still blocked leaves the stream alone, and is tried again", async () => {
  const { client, server, clock, all } = await streaming();
  const stream = server.connection;
  await clock.advance(1000);
  const tried = server.connections.slice(3).map(({ kind }) => kind);
  assert.deepEqual(tried, ["websocket", "websocket", "websocket"]);
  assert.deepEqual([client.socket.via, stream.closed, all("close")], ["stream", null, []]);
});

test("a stream that cannot be opened either gives the WebSocket its turn again", async () => {
  const server = new FakeServer();
  server.handshake = (connection) => connection.drop();
  const { clock } = await open(server);
  await clock.advance(120);
  const kinds = server.connections.map(({ kind }) => kind);
  assert.deepEqual(kinds.slice(0, 6), ["websocket", "websocket", "stream", "websocket", "websocket", "stream"]);
});

test("close ends the stream, and a WebSocket that is being tried", async () => {
  const { client, server, clock } = await streaming();
  server.handshake = () => {};
  await clock.advance(301);
  assert.equal(server.connections.length, 4);
  client.close();
  assert.deepEqual(server.connections.slice(2).map(({ closed }) => closed), [1000, 1000]);
  assert.equal(clock.pending, 0);
});

test("a stream that is closed is not followed by a WebSocket later", async () => {
  const { client, server, clock } = await streaming();
  client.close();
  assert.equal(clock.pending, 0);
  await clock.advance(600);
  assert.equal(server.connections.length, 3);
});
