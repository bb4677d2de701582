// Node's `ws`, with the native masking that its documentation recommends.
"use strict";

const { WebSocket, WebSocketServer } = require("ws");

// At the level of the others.
const deflate = { threshold: 0, zlibDeflateOptions: { level: 1, memLevel: 5 } };

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: 0,
  backlog: 4096,
  perMessageDeflate: process.argv.includes("--compression") ? deflate : false,
});

server.on("connection", (socket, request) => {
  socket.on("message", (data, isBinary) => {
    if (request.url === "/broadcast") {
      for (const each of server.clients) {
        if (each.readyState === WebSocket.OPEN) each.send(data, { binary: isBinary });
      }
    } else {
      socket.send(data, { binary: isBinary });
    }
  });
});

server.on("listening", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
