"""One of several processes that `orderhub serve --workers` runs: each builds the app for itself."""

from __future__ import annotations

import atexit
import contextlib

from fastapi import FastAPI

from oms_core import identification, intake
from oms_core.api.serve import application
from oms_core.cli.terminal import open_store
from oms_core.settings import Settings


def app() -> FastAPI:
    """The app of the home that ORDERHUB_HOME names; whether it may listen as asked, the parent has checked."""
    settings = Settings.from_environment(None)
    parts = contextlib.ExitStack()
    atexit.register(parts.close)
    database = parts.enter_context(open_store(settings))
    hear = parts.enter_context(intake.receiving(settings))
    differ = identification.differing(settings)
    return application(database, host="127.0.0.1", values=settings.values, hear=hear, differ=differ)
