"""Print the reference of all settings: `python -m wshttp.config > docs/reference/configuration.md`."""

from __future__ import annotations

import sys

from wshttp.config.reference import reference

sys.stdout.write(reference())
