"""Listen: on loopback without a key, elsewhere only with one."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping

import uvicorn

from oms_core.api.app import create_app
from oms_core.api.hooks import Hear
from oms_core.store.errors import StoreError
from oms_core.store.postgres import Database

_SHORTEST_KEY = 16


class ServeRefusedError(StoreError):
    """The API may not listen as asked."""


def serve(
    database: Database,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    values: Mapping[str, str] = os.environ,
    hear: Hear | None = None,
) -> None:
    """Serve the API until it is interrupted.

    Args:
        host: address to listen on.
        values: where ORDERHUB_API_KEY is looked up; with it set, every request must carry it.
        hear: takes notifications of source systems in.

    Raises:
        ServeRefusedError: the address can be reached from elsewhere, and there is no key, or one easily guessed.
    """
    api_key = values.get("ORDERHUB_API_KEY") or None
    check_exposure(host, api_key)
    app = create_app(database, api_key, hear=hear)
    uvicorn.run(app, host=host, port=port, log_level="info", server_header=False)


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
