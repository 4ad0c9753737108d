"""An HTTP client that keeps connections busy. Not a benchmark: `bench_serving.py` starts it, in a process of its own.

Requests are bytes made beforehand and answers are cut by their length only, so that it costs little beside what it measures.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from typing import Any

import uvloop


class _Asker(asyncio.Protocol):
    """One connection: the next request goes out when the last one was answered whole."""

    def __init__(
        self, requests: list[bytes], until: float, took: list[float], done: asyncio.Future[None]
    ) -> None:
        self._requests, self._until, self._took, self._done = requests, until, took, done
        self._left, self._head, self._begun = 0, b"", 0.0
        self._transport: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        try:
            self._take(data)
        except Exception as error:  # the loop would only log it, and everybody would wait
            self._done.set_exception(error)
            raise

    def _take(self, data: bytes) -> None:
        if self._left:
            self._left -= len(data)
        else:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            assert self._head.startswith(b"HTTP/1.1 200 "), self._head
            length = self._head.lower().index(b"content-length: ") + 16
            self._left = int(self._head[length : self._head.index(b"\r", length)]) - (
                len(self._head) - end - 4
            )
            self._head = b""
        if self._left == 0:
            self._took.append(time.perf_counter() - self._begun)
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(error or ConnectionError("the server hung up"))

    def _ask(self) -> None:
        self._begun = time.perf_counter()
        if self._begun < self._until:
            self._transport.write(random.choice(self._requests))
        elif not self._done.done():
            self._done.set_result(None)
            self._transport.close()


async def _run(port: int, connections: int, seconds: float, requests: list[bytes]) -> list[float]:
    took: list[float] = []
    loop = asyncio.get_running_loop()
    until = time.perf_counter() + seconds
    finished = [loop.create_future() for _ in range(connections)]
    for done in finished:
        await loop.create_connection(lambda done=done: _Asker(requests, until, took, done), "127.0.0.1", port)
    await asyncio.gather(*finished)
    return took


def main() -> None:
    """`asking.py <port> <connections> <seconds>`, paths on standard input: JSON of latencies and CPU seconds."""
    port, connections, seconds = sys.argv[1:]
    asked = json.load(sys.stdin)
    head = "".join(f"{name}: {value}\r\n" for name, value in asked["headers"].items())
    requests = [
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{head}\r\n".encode() for path in asked["paths"]
    ]
    begun = time.process_time()
    took = uvloop.run(_run(int(port), int(connections), float(seconds), requests))
    json.dump({"took": took, "cpu": time.process_time() - begun}, sys.stdout)


if __name__ == "__main__":
    main()
