"""Known records on disk, ready to be met by new ones: prepared values and blocking keys in a DuckDB file, one frozen model.

Scoring a batch reads the known records' keys and only those records that agree with a new one on a key.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import numpy as np
import pyarrow as pa
import splink

from oms_core.identity.scoring.blocking import ROW, fitting, join_common_values
from oms_core.identity.scoring.engines import DuckDB
from oms_core.identity.scoring.model import Model
from oms_core.identity.scoring.prepare import RECORD_ID
from oms_core.identity.scoring.scorer import AT_LEAST, Scored, least_weight, named, no_pairs
from oms_core.identity.scoring.splink_sql import scores_sql


class IndexFileError(ValueError):
    """An index file cannot be used; the message says what to do."""


class Index:
    """Prepared records of one entity under one model, in a file of its own. A context manager; one process at a time.

    `add` puts records in, or in the place of those with the same id; `remove` takes them out; `score` compares new records
    with all that are in it and with each other, and adds nothing.
    """

    def __init__(self, path: Path, *, create: Model | None, memory_limit: str) -> None:
        """Use `create` or `open`."""
        self._engine = DuckDB(memory_limit)
        self._con = self._engine.con
        self._con.execute(f"attach '{str(path).replace(chr(39), chr(39) * 2)}' as store")
        if create is not None:
            self._make(create)
        columns = {row[0] for row in self._con.execute("describe store.meta").fetchall()}
        if "statement" not in columns:
            self.close()
            raise IndexFileError(
                f"{path} was made by an earlier version; remove the file and make it again from the records"
            )
        text, hashed_by, self._statement, written_by = self._con.execute(
            "select model, hashed_by, statement, written_by from store.meta"
        ).fetchall()[0]
        if hashed_by != duckdb.__version__:
            self.close()
            raise IndexFileError(
                f"{path} was made by DuckDB {hashed_by} and this is {duckdb.__version__}, which may hash otherwise; remove "
                "the file and make it again from the records"
            )
        self.model = Model.model_validate_json(text)
        if written_by != splink.__version__:
            self._statement = scores_sql(self.model, self._engine.dialect, least_weight=None)

    @classmethod
    def create(cls, path: Path, records: pa.Table, model: Model, *, memory_limit: str = "2GB") -> Self:
        """Make the file and put prepared records in.

        Raises:
            IndexFileError: the file is there already.
        """
        if path.exists():
            raise IndexFileError(f"{path} exists; open it, or remove it to start again")
        index = cls(path, create=model, memory_limit=memory_limit)
        index.add(records)
        return index

    @classmethod
    def open(cls, path: Path, *, memory_limit: str = "2GB") -> Self:
        """Open the file.

        Raises:
            IndexFileError: it is not there, or another version of DuckDB made its keys.
        """
        if not path.exists():
            raise IndexFileError(f"there is no index at {path}; make one with Index.create")
        return cls(path, create=None, memory_limit=memory_limit)

    def close(self) -> None:
        """Close the file."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """Number of records in it."""
        return self._number("select count(*) from store.known")

    def _make(self, model: Model) -> None:
        empty = fitting(pa.table({RECORD_ID: pa.array([], pa.string())}), model, sides=False)
        # Splink writes its statement once, which takes longer than a small batch needs to be scored.
        statement = scores_sql(model, self._engine.dialect, least_weight=None)
        self._con.execute(
            "create table store.meta (model text, hashed_by text, statement text, written_by text)"
        )
        self._con.execute(
            "insert into store.meta values (?, ?, ?, ?)",
            [model.canonical(), duckdb.__version__, statement, splink.__version__],
        )
        self._con.register("arriving", empty.add_column(0, ROW, pa.array([], pa.int64())))
        self._con.execute("create table store.known as select * from arriving")
        self._con.unregister("arriving")
        keys = "".join(f", k{at} ubigint" for at in range(len(model.blocks)))
        self._con.execute(f"create table store.keys ({ROW} bigint{keys})")
        self._con.execute("create table store.large (rule integer, k ubigint, size bigint)")

    def add(self, records: pa.Table) -> None:
        """Put prepared records in; a record with the id of one that is in takes its place."""
        self._arrive(records)
        self._con.execute("begin")
        self._drop("select record_id from arrived")
        self._con.execute("insert into store.known by name select * from arrived")
        self._con.execute("insert into store.keys by name select * from arrived_keys")
        self._count_large()
        self._con.execute("commit")

    def remove(self, ids: Any) -> None:
        """Take the records with these ids out; ids that are not in are passed over."""
        self._con.register("leaving", pa.table({RECORD_ID: pa.array(ids, pa.string())}))
        self._con.execute("begin")
        self._drop("select record_id from leaving")
        self._count_large()
        self._con.execute("commit")
        self._con.unregister("leaving")

    def _drop(self, ids: str) -> None:
        gone = f"select {ROW} from store.known where {RECORD_ID} in ({ids})"
        self._con.execute(f"delete from store.keys where {ROW} in ({gone})")
        self._con.execute(f"delete from store.known where {RECORD_ID} in ({ids})")

    def _count_large(self) -> None:
        self._con.execute("delete from store.large")
        for at in range(len(self.model.blocks)):
            self._con.execute(
                f"insert into store.large select {at}, k{at}, count(*) from store.keys where k{at} is not null "
                f"group by k{at} having count(*) > {self.model.most_in_block}"
            )

    def _arrive(self, records: pa.Table) -> None:
        """Tables `arrived` and `arrived_keys`, with row numbers after those in use."""
        table = fitting(records, self.model, sides=False)
        first = self._number(f"select coalesce(max({ROW}) + 1, 0) from store.known")
        rows = pa.array(np.arange(first, first + table.num_rows), pa.int64())
        self._engine.load("arrived", table.add_column(0, ROW, rows))
        keys = "".join(f", {self._engine.key(rule)} as k{at}" for at, rule in enumerate(self.model.blocks))
        self._con.execute(f"create or replace table arrived_keys as select {ROW}{keys} from arrived")

    def _number(self, sql: str) -> int:
        return int(self._con.execute(sql).fetchall()[0][0])

    def score(self, records: pa.Table, *, at_least: float = AT_LEAST) -> Scored:
        """Pairs of the new records with all that are in the index, and with each other.

        A record in the index that has the id of a new one is out of date and does not take part.

        Args:
            records: prepared table.
            at_least: pairs of lower probability are left out.
        """
        levels = [comparison.field for comparison in self.model.comparisons]
        if not records.num_rows or not self.model.comparisons:
            return Scored(no_pairs(levels))
        self._arrive(records)
        self._con.execute(
            f"create or replace table outdated as select {ROW} from store.known where {RECORD_ID} in (select {RECORD_ID} "
            "from arrived)"
        )
        cut = self._make_pairs()
        # Only what is compared is read of the known records: keys are most of the columns.
        read = ", ".join([ROW, RECORD_ID, *self.model.compared])
        self._con.execute(
            f"create or replace table nodes_plain as select {read} from arrived union all select {read} from store.known "
            f"where {ROW} in (select join_key_l from pairs)"
        )
        join_common_values(self._engine, self.model)
        least = least_weight(at_least)
        wanted = "" if least is None else f" where match_weight >= {least!r}"
        found = self._engine.fetch(f"select * from ({self._statement}) scored{wanted}")
        ids = self._engine.fetch(f"select {ROW}, {RECORD_ID} from nodes_plain order by {RECORD_ID}")
        return Scored(named(found, ids, levels), cut)

    def _make_pairs(self) -> list[str]:
        """Table `pairs`: known (or earlier) record left, new record right."""
        most = self.model.most_in_block
        arrived = " union all ".join(
            f"select {at} as rule, k{at} as k from arrived_keys where k{at} is not null"
            for at in range(len(self.model.blocks))
        )
        # One statement for all rules: each by itself takes longer to plan than to run.
        self._con.execute(
            f"create or replace table large as with arrived as ({arrived}), counted as ("
            "select rule, k, count(*) as size from arrived group by rule, k) "
            "select rule, k, counted.size + coalesce(known.size, 0) as size, counted.size as touched "
            "from counted left join store.large known using (rule, k) "
            f"where counted.size + coalesce(known.size, 0) > {most}"
        )
        cut = [
            f"Blocking on {' and '.join(self.model.blocks[rule])}: {blocks:,} blocks of more than {most:,} records, the largest of "
            f"{largest:,}, were cut; {touched:,} new records are affected."
            for rule, blocks, largest, touched in self._con.execute(
                "select rule, count(*), max(size)::bigint, sum(touched)::bigint from large group by rule order by rule"
            ).fetchall()
        ]
        selects = []
        for at in range(len(self.model.blocks)):
            # Each rule reads its own keys alone, and what several rules bring is told apart at the end: reading the keys of all
            # earlier rules beside each takes longer.
            meeting = f"(select {ROW}, k{at} from arrived_keys where k{at} not in (select k from large where rule = {at}))"
            for known, once in (("store.keys", ""), ("arrived_keys", f" and l.{ROW} < r.{ROW}")):
                selects.append(
                    f"select l.{ROW} as join_key_l, r.{ROW} as join_key_r from {known} l join {meeting} r on l.k{at} = r.k{at}{once}"
                )
        self._con.execute(
            f"create or replace table pairs as select distinct join_key_l, join_key_r, '0' as match_key from "
            f"({' union all '.join(selects)}) where join_key_l not in (select {ROW} from outdated)"
        )
        return cut
