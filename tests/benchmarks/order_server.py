"""A server of paged JSON orders. Not a benchmark: `bench_extract.py` starts it, in a process of its own.

`GET /orders?page=0` answers 250 orders with three lines each and the number of the next page. Two kinds of server say the same:
`fastapi` makes each order when asked, as a service written plainly with FastAPI does; `template` fills order numbers into one
ready page, so that it costs next to nothing beside what it is asked by.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
import threading
from typing import Any

import orjson
import uvicorn
import uvloop
from fastapi import FastAPI

PAGE = 250
LINES = 3
_FIRST = 1_000_000_000
_NUMBER = 77_777_777_777  # stands for an order's number in the template
_PAGE_ASKED = re.compile(rb"[?&]page=(\d+)")


def order(number: int, place: int) -> dict[str, object]:
    """An order as a shop's API answers it; `place` within its page decides everything but the number."""
    return {
        "id": number,
        "name": f"#{number}",
        "created_at": f"2026-09-{1 + place % 28:02d}T{place % 24:02d}:15:30+08:00",
        "updated_at": f"2026-10-{1 + place % 28:02d}T{place % 24:02d}:{place % 60:02d}:00+08:00",
        "status": ("open", "paid", "shipped", "returned")[place % 4],
        "currency": ("EUR", "USD", "CNY")[place % 3],
        "total": f"{20 + place}.90",
        "tax": f"{3 + place % 40}.17",
        "customer": {"id": 5_000_000 + place, "email": f"buyer{place}@example.com", "phone": "+4930901820"},
        "ship_to": {"name": f"Buyer {place}", "city": "Hangzhou", "country": "CN", "postal_code": f"{310000 + place}"},
        "note": None if place % 5 else "please ring twice",
        "lines": [
            {
                "id": number * 10 + line,
                "sku": f"SKU-{(place * 7 + line) % 900:04d}",
                "title": f"Rosehip Face Cream {10 * (1 + line)} ml",
                "qty": 1 + line,
                "unit_price": f"{5 + line}.30",
                "barcode": "4006381333931",
            }
            for line in range(LINES)
        ],
    }  # fmt: skip


def _template() -> bytes:
    rows = orjson.dumps([order(_NUMBER, place) for place in range(PAGE)]).replace(b"%", b"%%")
    return rows.replace(b"%d" % _NUMBER, b"%d")


class _Shop(asyncio.Protocol):
    def __init__(self, orders: int, template: bytes) -> None:
        self._pages, self._template = orders // PAGE, template
        self._numbers = template.count(b"%d") // PAGE
        self._asked = b""
        self._transport: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._asked += data
        while b"\r\n\r\n" in self._asked:
            head, _, self._asked = self._asked.partition(b"\r\n\r\n")
            found = _PAGE_ASKED.search(head)
            page = int(found.group(1)) if found else 0
            first = _FIRST + page * PAGE
            numbers = tuple(first + place for place in range(PAGE) for _ in range(self._numbers))
            following = b"null" if page + 1 >= self._pages else b"%d" % (page + 1)
            body = b'{"orders":' + self._template % numbers + b',"next":' + following + b"}"
            self._transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
                + body
            )


async def _template_server(orders: int, listener: socket.socket) -> None:
    template = _template()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Shop(orders, template), sock=listener)
    await server.serve_forever()


async def _fastapi_server(orders: int, listener: socket.socket) -> None:
    shop = FastAPI()
    pages = orders // PAGE

    @shop.get("/orders")
    async def page_of_orders(page: int = 0) -> Any:
        first = _FIRST + page * PAGE
        return {
            "orders": [order(first + place, place) for place in range(PAGE)],
            "next": page + 1 if page + 1 < pages else None,
        }

    await uvicorn.Server(uvicorn.Config(shop, log_level="warning")).serve([listener])


SERVERS = {"template": _template_server, "fastapi": _fastapi_server}


def _end_with_caller() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=_end_with_caller, daemon=True).start()
    uvloop.run(SERVERS[sys.argv[2]](int(sys.argv[1]), listener))
