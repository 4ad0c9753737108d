"""Serve the sandbox company: `python -m connectors.sandbox --port 0 --orders 2000 --seed 7`.

The first line on standard output is JSON: {"port", "url", "env"}. Loopback only. The process ends on
SIGTERM, on Ctrl-C, and when its standard input is a pipe that closes, so that it never outlives whoever
started it.
"""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
import threading
from pathlib import Path

import uvicorn

from connectors.sandbox.generate import generate
from connectors.sandbox.server import Sandbox, SandboxError, http_server, listen
from connectors.sandbox.trouble import ALWAYS, TROUBLES


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop. Return the exit code: 0, or 2 for a wrong option."""
    parser = argparse.ArgumentParser(
        prog="python -m connectors.sandbox", description="Serve the sandbox company."
    )
    parser.add_argument("--port", type=int, default=0, help="loopback port; 0 takes a free one")
    parser.add_argument("--orders", type=int, default=2000, help="orders placed in the last 120 days")
    parser.add_argument("--seed", type=int, default=7, help="same seed, same company")
    parser.add_argument(
        "--dirt", choices=("none", "normal", "heavy"), default="normal", help="how dirty the systems are"
    )
    parser.add_argument(
        "--differences",
        choices=("none", "planted"),
        default="planted",
        help="whether payments, invoices and receipts differ from the orders, for finance to find",
    )
    parser.add_argument("--sources", help="systems to serve, by comma; all by default")
    parser.add_argument("--inbox", type=Path, help="folder that receives the dealers' export files")
    parser.add_argument(
        "--misbehave",
        action="append",
        default=[],
        metavar="[SYSTEM:]TROUBLE[:TIMES]",
        help=f"let a system (all by default) go wrong so many times (always by default): {', '.join(TROUBLES)}",
    )
    options = parser.parse_args(arguments)
    try:
        sandbox = Sandbox(
            generate(options.seed, options.orders),
            level=options.dirt,
            differences=options.differences,
            sources=options.sources.split(",") if options.sources else None,
            inbox=options.inbox,
        )
        for asked in options.misbehave:
            _misbehave(sandbox, asked)
        opened = listen(options.port)
    except (SandboxError, ValueError, OSError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 2
    with opened:
        port = opened.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        print(json.dumps({"port": port, "url": url, "env": sandbox.env(url)}), flush=True)
        server = http_server(sandbox)
        if _is_pipe(sys.stdin.fileno()):
            threading.Thread(target=_stop_with_parent, args=(server,), daemon=True).start()
        server.run(sockets=[opened])
    return 0


def _misbehave(sandbox: Sandbox, asked: str) -> None:
    """Raises SandboxError or ValueError when there is no such system, trouble or number."""
    parts = asked.split(":")
    systems = [parts.pop(0)] if len(parts) > 1 and parts[0] not in TROUBLES else sandbox.systems
    times = int(parts[1]) if len(parts) > 1 else ALWAYS
    for system in systems:
        sandbox.misbehave(system, parts[0], times)


def _is_pipe(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _stop_with_parent(server: uvicorn.Server) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    server.should_exit = True


if __name__ == "__main__":
    sys.exit(main())
