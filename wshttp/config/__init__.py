"""Settings: YAML, environment and command line, read into frozen, typed values.

models.py      every setting: type, default, description, whether it can change while running
kinds.py       the kinds of values: what each wants, reads and shows
quantities.py  durations and sizes
redis_url.py   the URL of a Redis, with and without its password
coherence.py   what contradicts what
source.py      YAML with the line of each value
origins.py     where settings come from: file, environment, command line
load.py        what comes from there, laid over each other; all mistakes in one report
reload.py      what differs between two settings, and can or cannot change while running
printout.py    the settings in force, for `wshttp check`
reference.py   docs/reference/configuration.md
catalogue.py   the settings as a flat list, which the five before this one read
shipped.py     the folders that come with the package
"""

from __future__ import annotations

from wshttp.config.coherence import Contradiction, Contradictions
from wshttp.config.load import load_settings
from wshttp.config.models import (
    AdminSettings,
    ApiSettings,
    AuthSettings,
    CookieSettings,
    DriftPolicy,
    DriftSettings,
    HeaderSettings,
    IdentityName,
    LogSettings,
    MetricsSettings,
    ProtectRule,
    RateSettings,
    ServerSettings,
    SessionSettings,
    Settings,
    StaticSettings,
    StoreSettings,
    TlsSettings,
    TouchName,
    UploadSettings,
    UrlSettings,
    WebSocketSettings,
)
from wshttp.config.printout import settings_as_yaml
from wshttp.config.quantities import format_duration, format_size, parse_duration, parse_size
from wshttp.config.reference import reference
from wshttp.config.reload import merged_settings, reload_differences
from wshttp.config.shipped import shipped

__all__ = [
    "AdminSettings",
    "ApiSettings",
    "AuthSettings",
    "Contradiction",
    "Contradictions",
    "CookieSettings",
    "DriftPolicy",
    "DriftSettings",
    "HeaderSettings",
    "IdentityName",
    "LogSettings",
    "MetricsSettings",
    "ProtectRule",
    "RateSettings",
    "ServerSettings",
    "SessionSettings",
    "Settings",
    "StaticSettings",
    "StoreSettings",
    "TlsSettings",
    "TouchName",
    "UploadSettings",
    "UrlSettings",
    "WebSocketSettings",
    "format_duration",
    "format_size",
    "load_settings",
    "merged_settings",
    "parse_duration",
    "parse_size",
    "reference",
    "reload_differences",
    "settings_as_yaml",
    "shipped",
]
