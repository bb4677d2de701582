"""picows bare: each frame goes back as it came, with no look at what it says."""

from __future__ import annotations

import argparse

import uvloop
from listening import listen
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

parser = argparse.ArgumentParser()
parser.add_argument("files", help="not used")
parser.parse_args()


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())


def echo_for(request: WSUpgradeRequest) -> Echo:
    return Echo()


async def main() -> None:
    server = await ws_create_server(echo_for, sock=listen(), backlog=4096)
    await server.serve_forever()


uvloop.run(main())
