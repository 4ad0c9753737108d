"""The audit log at a million entries: append, prove, verify, each against its aim: `make bench`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from oms_core.audit import log
from oms_core.audit.checkpoint import Signer
from oms_core.audit.verify import take_checkpoint, verify
from oms_core.store.postgres import Database

ENTRIES = 1_000_000
AT_ONCE = 1_000
PROOFS = 200


def test_a_million_entries(make_home: Any, tmp_path: Path) -> None:
    with Database.open(make_home("bench-audit")) as database:
        database.upgrade()
        started = time.perf_counter()
        for first in range(0, ENTRIES, AT_ONCE):
            with database.begin() as connection:
                log.append(
                    connection,
                    [
                        log.Happening(
                            "decision.made", "anna", f"customer/CUS-{n}", {"reason": "same e-mail", "n": n}
                        )
                        for n in range(first, first + AT_ONCE)
                    ],
                )
        appended = time.perf_counter() - started
        with database.begin() as connection:
            signer = Signer.open(tmp_path / "key.pem", log.origin(connection))
            path = take_checkpoint(connection, signer, tmp_path / "checkpoints")
            assert path is not None
            started = time.perf_counter()
            for number in range(PROOFS):
                assert log.prove(connection, number * ENTRIES // PROOFS).holds()
            proven = (time.perf_counter() - started) / PROOFS
        started = time.perf_counter()
        verdict = verify(database, {path: path.read_bytes()}, signer.verifier)
        verified = time.perf_counter() - started
        assert verdict.holds and verdict.entries == ENTRIES
    table = Table("what", "measured", "aim", title=f"audit log, {ENTRIES:,} entries", title_justify="left")
    table.add_row(
        f"append, {AT_ONCE:,} a transaction", f"{ENTRIES / appended:,.0f} a second", "5,000 a second"
    )
    table.add_row("one inclusion proof, made and checked", f"{proven * 1000:.1f} ms", "20 ms")
    table.add_row("verify all of it", f"{verified:.1f} s", "60 s")
    console = Console(width=110)
    console.print()
    console.print(table)
