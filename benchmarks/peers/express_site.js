// Express with express-session in its memory store.
"use strict";

const express = require("express");
const session = require("express-session");

const application = express();

application.get("/hello", (request, response) => response.send("Hello, world"));

const sessions = session({ secret: "0123456789abcdef", resave: false, saveUninitialized: false });
application.get("/count", sessions, (request, response) => {
  request.session.count = (request.session.count || 0) + 1;
  response.json({ count: request.session.count });
});

const listener = application.listen(0, "127.0.0.1", 4096, () => {
  console.log(`listening on http://127.0.0.1:${listener.address().port}`);
});
