"""How late sessions end: from the instant at which each is due until its `on_session_end` runs.

Each session has an instant of its own in a stretch of time, or all have the same. Servers in processes of their own
sweep; what is shown is what their callbacks have seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import batched
from multiprocessing.connection import Connection as Pipe

from benchmarks.population import population
from benchmarks.process import beside_a_process
from benchmarks.redis_server import redis_server
from benchmarks.table import Table
from benchmarks.timing import percentile
