"""Small files in memory: for a moment, in bounds, and the one that was asked for."""

from __future__ import annotations

from wshttp.testing import FakeClock
from wshttp.web.file_cache import KEPT_FOR, LARGEST, MOST, FileCache, KeptFile


def file_of(content: bytes = b"content", *, varies: bool = False) -> KeptFile:
    return KeptFile(content, '"etag"', 1, "Thu, 01 Jan 1970 00:00:01 GMT", "text/plain", None, varies)


def test_file_is_kept_for_a_moment(clock: FakeClock) -> None:
    """Then it is looked for like any other, which keeps it again."""
    cache, file = FileCache(clock.monotonic), file_of()
    assert cache.find("/a", "") is None
    cache.keep("/a", "", file)
    clock.advance(KEPT_FOR * 0.9)
    assert cache.find("/a", "gzip") is file
    assert cache.find("/b", "") is None
    clock.advance(KEPT_FOR * 0.1)
    assert cache.find("/a", "") is None
    cache.keep("/a", "", file)
    assert cache.find("/a", "") is file
    assert len(cache) == 1


def test_file_with_codings_is_kept_for_those_who_ask_alike(clock: FakeClock) -> None:
    """Who accepts something else may be served another file."""
    cache, plain, packed = FileCache(clock.monotonic), file_of(b"plain", varies=True), file_of(b"packed", varies=True)
    cache.keep("/a", "", plain)
    cache.keep("/a", "gzip", packed)
    found = [cache.find("/a", accept) for accept in ("", "gzip", "br")]
    assert found == [plain, packed, None]


def test_files_in_memory_are_bounded(clock: FakeClock) -> None:
    """Those that were kept first go first; what is large, or asked for in many words, is not kept."""
    cache = FileCache(clock.monotonic)
    cache.keep("/large", "", file_of(bytes(LARGEST + 1)))
    cache.keep("/" + "x" * 1024, "", file_of())
    cache.keep("/a", "x" * 1024, file_of(varies=True))
    assert len(cache) == 0
    for number in range(1000):
        cache.keep(f"/{number}", "", file_of(bytes(LARGEST)))
    assert len(cache) <= MOST // LARGEST
    assert cache.find("/0", "") is None
    assert cache.find("/999", "") is not None
    clock.advance(KEPT_FOR)
    cache.keep("/new", "", file_of())
    assert len(cache) == 1
