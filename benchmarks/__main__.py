"""`python -m benchmarks [--quick] [name ...]`: print the figures of this machine.

`python -m benchmarks engine` is a command of its own: it measures other programs, too, and installs them.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmarks import machine

NAMES = (
    "memory_store", "mass_end", "http_requests", "websocket_echo",
    "round_trips", "stores", "logout", "lateness", "capacity",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Print the figures of this machine.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"which of {', '.join(NAMES)}; default: all")
    parser.add_argument("--quick", action="store_true", help="so small that the figures mean nothing")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in NAMES]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(NAMES)}")
    print(machine.describe(), flush=True)
    for name in arguments.names or NAMES:
        for table in importlib.import_module(f"benchmarks.{name}").tables(arguments.quick):
            print(f"\n{table}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["engine"]:
        from benchmarks.engine import command

        command.main(sys.argv[2:])
    else:
        main()
