// What a header client remembers, where, and under which name.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  clientOf, facts, FakeArea, FakeClock, FakePage, FakeServer, open, settle, stalled, tokenOf,
} from "./fakes.mjs";

function headerServer() {
  const server = new FakeServer();
  Object.assign(server, { identity: "header", session: null });
  return server;
}

function pageWith(sessionStorage, localStorage) {
  return Object.assign(new FakePage(), { sessionStorage, localStorage });
}

test("nothing is remembered unless asked for", async () => {
  const [tab, browser] = [new FakeArea(), new FakeArea()];
  await open(headerServer(), { identity: "header", window: pageWith(tab, browser) });
  await open(new FakeServer(), { window: pageWith(tab, browser) });
  assert.deepEqual([tab.items.size, browser.items.size], [0, 0]);
});

for (const [remember, index] of [["tab", 0], ["browser", 1]]) {
  test(`what is remembered by ${remember} is found again by the next page`, async () => {
    const areas = [new FakeArea(), new FakeArea()];
    const server = headerServer();
    const first = await open(server, { remember, window: pageWith(...areas) });
    assert.deepEqual(areas.map((area) => area.items.size), index ? [0, 1] : [1, 0]);
    first.client.close();
    const next = await open(server, { remember, window: pageWith(...areas), clock: first.clock });
    assert.equal(next.client.session.ref, first.client.session.ref ?? "r2");
    assert.equal(server.asked("GET", "/session").length, 1);
  });
}

test("applications on one origin keep apart by their prefix", async () => {
  const area = new FakeArea();
  const [shop, chat] = [headerServer(), headerServer()];
  await open(shop, { remember: "browser", storage: area, application: "shop" });
  await open(chat, { remember: "browser", storage: area, application: "chat" });
  assert.deepEqual([...area.items.keys()].sort(), ["chat:session", "shop:session"]);
});

test("a remembered session whose time is over is forgotten, and not asked with", async () => {
  const area = new FakeArea();
  const server = headerServer();
  const { client, clock } = await open(server, { remember: "tab", storage: area });
  client.close();
  clock.sleep(1201);
  const old = server.token;
  const next = await open(server, { remember: "tab", storage: area, clock });
  assert.notEqual(server.token, old);
  assert.ok(server.requests.every(({ headers }) => server.requests.indexOf(headers) < 0));
  assert.equal(next.client.session.ref, "r3");
});

test("a remembered token that the server no longer knows gives way to a new session", async () => {
  const area = new FakeArea();
  area.setItem("wshttp:session", JSON.stringify({ token: tokenOf("old"), ref: "gone", until: null }));
  const server = headerServer();
  const { client } = await open(server, { remember: "tab", storage: area });
  assert.deepEqual([client.session.ref, client.socket.state], ["r2", "open"]);
  assert.equal(JSON.parse(area.getItem("wshttp:session")).token, server.token);
});

test("an end is forgotten everywhere", async () => {
  const area = new FakeArea();
  const { client } = await open(headerServer(), { remember: "browser", storage: area });
  assert.equal(area.items.size, 1);
  await client.endSession();
  assert.equal(area.items.size, 0);
});

test("the end of one session leaves the token of another, which another tab began", async () => {
  const area = new FakeArea();
  const server = headerServer();
  await open(server, { remember: "browser", storage: area });
  const other = JSON.stringify({ token: tokenOf("other"), ref: "r9", until: null });
  area.setItem("wshttp:session", other);
  server.end("idle", 4002);
  assert.equal(area.getItem("wshttp:session"), other);
});

test("a token that came for the next session stays when the end of the one before is learnt", async () => {
  const area = new FakeArea();
  const server = headerServer();
  const { client, clock, all } = await open(server, { remember: "tab", storage: area });
  area.items.clear(); // as somebody does who clears the data of a site
  server.connection.drop();
  await clock.advance(1);
  assert.deepEqual([client.session.ref, client.socket.state], ["r3", "open"]);
  const kept = JSON.parse(area.getItem("wshttp:session"));
  assert.deepEqual([kept.token, kept.ref], [server.token, "r3"]);
  assert.deepEqual([all("ended").length, server.asked("GET", "/session").length], [1, 2]);
});

test("an end that one tab hears leaves the token that another has just got, and not yet understood", async () => {
  const area = new FakeArea();
  const server = headerServer();
  const one = await open(server, { remember: "browser", storage: area });
  const two = await open(server, { remember: "browser", storage: area, clock: one.clock });
  server.overrides.set("POST /login", ({ body }) => {
    server.session = facts({ ref: "next", identity: "header" });
    return stalled(200, Object.fromEntries(server.logIn(body).headers));
  });
  one.client.login("ada", "right");
  await settle();
  server.connections[1].tell({ type: "session", session: facts({ ref: "r2", expires_in: 900 }) });
  server.connections[1].tell({ type: "ended", reason: "replaced" });
  assert.deepEqual(two.all("ended").map(({ reason }) => reason), ["replaced"]);
  const kept = JSON.parse(area.getItem("wshttp:session"));
  assert.deepEqual([kept.token, kept.ref], [server.token, null]);
});

test("a token that is remembered and not yet understood is that of the session which it opens", async () => {
  const area = new FakeArea();
  const server = headerServer();
  server.begin();
  area.setItem("wshttp:session", JSON.stringify({ token: server.token, ref: null, until: null }));
  const { client } = await open(server, { remember: "tab", storage: area });
  const { ref, until } = JSON.parse(area.getItem("wshttp:session"));
  assert.deepEqual([ref, until !== null], [client.session.ref, true]);
  server.end("idle", 4002);
  assert.equal(area.items.size, 0);
});

test("a log-in changes the remembered token", async () => {
  const area = new FakeArea();
  const server = headerServer();
  const { client } = await open(server, { remember: "browser", storage: area });
  await client.login("ada", "right");
  await settle();
  const kept = JSON.parse(area.getItem("wshttp:session"));
  assert.deepEqual([kept.token, kept.ref], [server.token, client.session.ref]);
});

test("how long it is good is remembered with it, and moves", async () => {
  const area = new FakeArea();
  const { client, clock } = await open(headerServer(), { remember: "tab", storage: area });
  const until = () => JSON.parse(area.getItem("wshttp:session")).until;
  const before = until();
  await clock.advance(100);
  await client.touch();
  assert.equal(until() - before, 100_000);
});

test("a browser that stores nothing, or refuses even to look, still has a session", async () => {
  const full = new FakeArea();
  full.setItem = () => {
    throw new Error("quota");
  };
  const shut = new FakePage();
  Object.defineProperty(shut, "localStorage", { get: () => { throw new Error("denied"); } });
  for (const options of [{ storage: full }, { window: shut }]) {
    const { client } = await open(headerServer(), { remember: "browser", ...options });
    assert.equal(client.socket.state, "open");
    await client.touch();
  }
});

for (const stored of [
  "{not json", "null", "5", '"text"', "[]", '{"token": "short"}', '{"token": 7}', '{"token": {}}', '{"token": null}',
  JSON.stringify({ token: [tokenOf("list")] }), JSON.stringify({ token: tokenOf("a\nb") }),
  JSON.stringify({ token: tokenOf("\u2603") }), JSON.stringify({ token: tokenOf("unknown"), ref: {}, until: "never" }),
]) {
  test(`what is stored and is not ours is not believed: ${stored}`, async () => {
    const area = new FakeArea();
    area.setItem("wshttp:session", stored);
    const server = headerServer();
    const { client, all } = await open(server, { remember: "tab", storage: area });
    assert.deepEqual([client.socket.state, all("error")], ["open", []]);
    const { token, ref } = JSON.parse(area.getItem("wshttp:session"));
    assert.deepEqual([token, ref], [server.token, client.session.ref]);
  });
}

test("remember and identity that do not go together are a mistake, said at once", () => {
  const options = { clock: new FakeClock() };
  assert.throws(() => clientOf(new FakeServer(), { ...options, remember: "tab", identity: "cookie" }), TypeError);
  assert.throws(() => clientOf(new FakeServer(), { ...options, remember: "cookie", identity: "header" }), TypeError);
  assert.throws(() => clientOf(new FakeServer(), { ...options, remember: "disk" }), /nothing, tab, browser, cookie/);
});

test("a token goes in the header that the server's settings name", async () => {
  const server = headerServer();
  server.overrides.set("POST /session/touch", ({ headers }) => {
    assert.equal(headers.get("X-Session"), server.token);
    assert.equal(headers.get("Authorization"), null);
    return new Response(JSON.stringify(server.session));
  });
  server.overrides.set("POST /ticket", () => new Response('{"ticket": "t"}', { status: 201 }));
  const { client } = await open(server, { identity: "header", header: "X-Session" });
  await client.touch();
});
