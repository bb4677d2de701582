"""A Tornado application as there are many, with sessions: the five lines that it takes are marked.

    python examples/tornado_app.py

Then open http://127.0.0.1:8080/, and load it again.
"""

from __future__ import annotations

import asyncio

import tornado.web

from wshttp import MemoryStore, SessionHandler, SessionList, Settings, attach  # 1


class About(tornado.web.RequestHandler):
    """One of those that need no session: they go on as they were."""

    def get(self):
        self.write("A Tornado application")


class Visits(SessionHandler):  # 2: was tornado.web.RequestHandler
    async def get(self):
        visits = await self.session.increment("visits")  # what it is for
        self.write(f"Visits: {visits}")


async def main():
    application = tornado.web.Application([("/", Visits), ("/about", About)])
    site = attach(application, SessionList(Settings().session, MemoryStore()))  # 3
    await site.open()  # 4
    listener = application.listen(8080, "127.0.0.1")
    try:
        await asyncio.Event().wait()
    finally:
        listener.stop()
        await site.close()  # 5: ends the sessions, and closes their sockets


if __name__ == "__main__":
    asyncio.run(main())
