"""What seals a release: row hashes, and Merkle roots over the rows of a table and the tables of a release.

A row's hash is the RFC 6962 leaf hash of its COPY text line (`store/copy_text.py`), the columns in order of
their names. A table's root is over its row hashes in ascending order; a release's root is over one entry per
table, ordered by name: the RFC 8785 canonical JSON of its name, columns, row count, control totals and root.
So one value or one row more or less changes the release's root, whatever engine computed the marts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from oms_core.audit.merkle import HASH_BYTES, leaf_hash, tree_root
from oms_core.store.copy_text import split_lines

pc: Any = pyarrow.compute  # the stubs know fewer argument types than these functions take

NO_CURRENCY = "XXX"  # ISO 4217: no currency involved
Totals = Mapping[str, Mapping[str, Decimal]]  # {currency: {column: sum}}


@dataclass(frozen=True)
class TableSeal:
    """What a release says of one table."""

    table: str
    columns: tuple[tuple[str, str], ...]  # (name, PostgreSQL type), ordered by name
    row_count: int
    control_totals: Totals
    merkle_root: bytes

    def entry(self) -> bytes:
        """The canonical JSON that stands for the table in the release's tree."""
        entry = {
            "table": self.table,
            "columns": [list(column) for column in self.columns],
            "row_count": self.row_count,
            "control_totals": totals_as_text(self.control_totals),
            "merkle_root": self.merkle_root.hex(),
        }
        # Without floats, and with ASCII names, this is RFC 8785 already.
        return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def release_root(seals: Sequence[TableSeal]) -> bytes:
    """Merkle root of a release: 32 bytes."""
    return tree_root(b"".join(leaf_hash(seal.entry()) for seal in sorted(seals, key=lambda seal: seal.table)))


def totals_as_text(totals: Totals) -> dict[str, dict[str, str]]:
    """Sums as text, since JSON numbers are binary."""
    return {currency: {name: str(value) for name, value in sums.items()} for currency, sums in totals.items()}


def hash_lines(lines: pa.StringArray) -> NDArray[np.uint8]:
    """Leaf hashes of rows.

    Args:
        lines: (n,) COPY text lines.

    Returns:
        (n, 32) uint8.
    """
    sha256 = hashlib.sha256
    marked: pa.StringArray = pc.binary_join_element_wise("\x00", lines, "")
    digests = b"".join([sha256(line).digest() for line in split_lines(marked)])
    return np.frombuffer(digests, dtype=np.uint8).reshape(-1, HASH_BYTES)


def hex_digits(hashes: NDArray[np.uint8]) -> pa.StringArray:
    """Hashes (n, 32) as text: (n,) of 64 hex digits each."""
    digits = 2 * HASH_BYTES
    ends = np.arange(0, (len(hashes) + 1) * digits, digits, dtype=np.int32)
    return pa.StringArray.from_buffers(
        len(hashes), pa.py_buffer(ends.tobytes()), pa.py_buffer(hashes.tobytes().hex().encode())
    )


def sort_hashes(hashes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The rows of a (n, 32) uint8 array in ascending order of their bytes."""
    order = np.argsort(_prefixes(hashes), kind="stable")
    ordered = hashes[order]
    prefixes = _prefixes(ordered)
    if (prefixes[1:] == prefixes[:-1]).any():  # equal rows, or a chance of one in billions: compare whole
        ordered = ordered[np.argsort(_whole(ordered), kind="stable")]
    return ordered


def repeated_hashes(ordered: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Positions whose hash equals the one before, in a sorted (n, 32) array."""
    return np.flatnonzero((ordered[1:] == ordered[:-1]).all(axis=1)) + 1


class HashSet:
    """A set of (n, 32) hashes that remembers which of its members were asked for."""

    def __init__(self, hashes: NDArray[np.uint8]) -> None:
        """Keep the hashes sorted; they are distinct."""
        self._hashes = sort_hashes(hashes)
        self._prefixes = _prefixes(self._hashes)
        self._seen = np.zeros(len(self._hashes), dtype=np.bool_)
        self._collides = bool((self._prefixes[1:] == self._prefixes[:-1]).any())

    def contains(self, hashes: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of the given hashes are members: (m,) bool for (m, 32) hashes."""
        if not len(self._hashes):
            return np.zeros(len(hashes), dtype=np.bool_)
        if self._collides:
            at = np.searchsorted(_whole(self._hashes), _whole(hashes))
        else:
            at = np.searchsorted(self._prefixes, _prefixes(hashes))
        at = np.minimum(at, len(self._hashes) - 1)
        found: NDArray[np.bool_] = (self._hashes[at] == hashes).all(axis=1)
        self._seen[at[found]] = True
        return found

    def unseen(self) -> NDArray[np.uint8]:
        """Members nobody asked for."""
        return self._hashes[~self._seen]


def _prefixes(hashes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The first eight bytes as numbers that order as the bytes do."""
    return np.ascontiguousarray(hashes[:, :8]).view(">u8").reshape(-1).astype(np.uint64)


def _whole(hashes: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    return np.ascontiguousarray(hashes).view(f"S{HASH_BYTES}").reshape(-1)


class ControlTotals:
    """Sums of the money columns of one table, per currency, as its rows pass by.

    A column `<x>_amount` counts under the row's `currency`, a column `<x>_reporting_amount` under
    `reporting_currency`; a row that has an amount and no currency counts under XXX.
    """

    def __init__(self, schema: pa.Schema) -> None:
        """Find the money columns of a table: decimals whose name ends in `_amount`, beside their currency."""
        self.money = money_columns(schema)
        self._sums: dict[str, dict[str, Decimal]] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        """Count rows in."""
        for currency_column, names in self.money.items():
            currency = pc.fill_null(batch.column(currency_column).cast(pa.string()), NO_CURRENCY)
            table = pa.table({"currency": currency, **{name: batch.column(name) for name in names}})
            answer = table.group_by("currency").aggregate([(name, "sum") for name in names])
            for row in answer.to_pylist():
                sums = self._sums.setdefault(row["currency"], {})
                for name in names:
                    if row[f"{name}_sum"] is not None:
                        sums[name] = sums.get(name, Decimal(0)) + row[f"{name}_sum"]

    def totals(self) -> Totals:
        """The sums; a column without any value in a currency is left out."""
        return {currency: dict(sums) for currency, sums in sorted(self._sums.items()) if sums}


def money_columns(schema: pa.Schema) -> dict[str, list[str]]:
    """Money columns by the column that names their currency."""
    columns: dict[str, list[str]] = {}
    for field in schema:
        if field.name.endswith("_amount") and pa.types.is_decimal(field.type):
            currency = "reporting_currency" if field.name.endswith("_reporting_amount") else "currency"
            if currency in schema.names:
                columns.setdefault(currency, []).append(field.name)
    return columns
