"""Listen: on loopback without a key, elsewhere only with one."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.config import LOGGING_CONFIG

from oms_core.api.access import LIMIT
from oms_core.api.app import create_app
from oms_core.api.hooks import Hear
from oms_core.api.identity import Differ
from oms_core.api.limits import Limit
from oms_core.api.oidc import Trust
from oms_core.store.errors import StoreError
from oms_core.store.postgres import Database

_SHORTEST_KEY = 16
SHUTDOWN_SECONDS = 20  # what requests that run have to end in


class ServeRefusedError(StoreError):
    """The API may not listen as asked."""


def serve(
    database: Database,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    values: Mapping[str, str] = os.environ,
    hear: Hear | None = None,
    differ: Differ | None = None,
) -> None:
    """Serve the API in this process until it is interrupted; requests that run are finished first.

    Args:
        host: address to listen on.
        values: where ORDERHUB_API_KEY, ORDERHUB_RATE_LIMIT and ORDERHUB_OIDC_* are looked up; with a key set, every request
            must carry it, or a key or token of a role.
        hear: takes notifications of source systems in.
        differ: works out what a model of identity would change.

    Raises:
        ServeRefusedError: the address can be reached from elsewhere, and there is no key, or one easily guessed; or a setting
            makes no sense.
    """
    run(application(database, host=host, values=values, hear=hear, differ=differ), host=host, port=port)


def application(
    database: Database,
    *,
    host: str,
    values: Mapping[str, str],
    hear: Hear | None = None,
    differ: Differ | None = None,
) -> FastAPI:
    """The app as the settings say.

    Raises:
        ServeRefusedError: see `serve`.
        IssuerRefusedError: the settings of the OIDC issuer make no sense.
    """
    api_key = values.get("ORDERHUB_API_KEY") or None
    trust = Trust.from_environment(values)
    check_exposure(host, api_key)
    return create_app(
        database,
        api_key,
        trust=trust,
        limit=_limit(values.get("ORDERHUB_RATE_LIMIT")),
        hear=hear,
        differ=differ,
    )


def run(app: FastAPI | str, *, host: str, port: int, **settings: Any) -> None:
    """Listen, and log one line for each request, with its name, instead of uvicorn's own."""
    logged = {"oms_core.api": {"handlers": ["default"], "level": "INFO", "propagate": False}}
    loggers = {**LOGGING_CONFIG["loggers"], **logged}
    uvicorn.run(
        app, host=host, port=port, log_config={**LOGGING_CONFIG, "loggers": loggers}, access_log=False, server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS, **settings,
    )  # fmt: skip


def _limit(said: str | None) -> Limit:
    """Requests a second of one caller, such as "200"; twice as many at once."""
    if not said:
        return LIMIT
    if not said.isdecimal() or int(said) < 1:
        raise ServeRefusedError(
            f"ORDERHUB_RATE_LIMIT {said!r} is no number of requests a second, such as 200"
        )
    return Limit(rate=int(said), burst=2 * int(said))


def check_exposure(host: str, api_key: str | None) -> None:
    """Refuse to listen where others reach us without a key that keeps them out.

    Raises:
        ServeRefusedError: see `serve`.
    """
    if api_key is not None and len(api_key) < _SHORTEST_KEY:
        raise ServeRefusedError(
            f"ORDERHUB_API_KEY has fewer than {_SHORTEST_KEY} characters: choose a longer one"
        )
    if api_key is None and not _is_loopback(host):
        raise ServeRefusedError(
            f"{host} can be reached from elsewhere, and ORDERHUB_API_KEY is not set: set it, or listen on 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
