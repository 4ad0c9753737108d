"""The API served on loopback by a real server."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
import uvicorn
from fastapi import FastAPI


@pytest.fixture
def serving() -> Iterator[Callable[[FastAPI], httpx.Client]]:
    """Serves an app on loopback, by a real server, and gives a client of it."""
    with contextlib.ExitStack() as stack:

        def run(app: FastAPI) -> httpx.Client:
            server = uvicorn.Server(
                uvicorn.Config(app, port=0, log_level="critical", ws="none", lifespan="on")
            )
            thread = threading.Thread(target=server.run)
            thread.start()
            stack.callback(thread.join)
            stack.callback(setattr, server, "should_exit", True)
            while not server.started:
                time.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            return stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60))

        yield run
