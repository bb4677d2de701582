"""Where and when the figures were taken."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import tornado


def describe() -> str:
    """Return one line: processor, system, versions, date, and how busy the machine was with other things."""
    return (
        f"{os.cpu_count()} cores, {_processor()}, {platform.system()}; "
        f"Python {platform.python_version()}, Tornado {tornado.version}; "
        f"{datetime.now(UTC):%Y-%m-%d}; load average {os.getloadavg()[0]:.1f}"
    )


def _processor() -> str:
    """Return the processor's name. Linux has it in a file (proc(5)), and `platform` does not look there."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def computed(pid: int | str = "self") -> float:
    """Return the seconds that a process has computed so far, all threads together (Linux, proc(5): `utime`, `stime`)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int | str = "self") -> int:
    """Return the memory of a process that is in RAM (Linux, proc(5): the second field, in pages)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
