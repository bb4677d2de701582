"""The browser client, where every page finds it: beside the API that it speaks, whatever `static.root` serves."""

from __future__ import annotations

from typing import Final

from wshttp.web.files import FilesHandler
from wshttp.web.gate import Gate

FILES: Final = r"wshttp\.js|wshttp\.d\.ts"
"""What of the shipped folder is served, as a pattern: the module and its types."""


class ClientModule(FilesHandler, Gate):  # type: ignore[misc]  # its methods take the path, as FilesHandler's do
    """`GET /wshttp.js` and `GET /wshttp.d.ts`. No session is looked for, started or touched."""
