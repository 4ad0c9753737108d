"""Order look-ups of one process: whoever waits while a statement runs shares the next one.

A statement over all that an order consists of costs PostgreSQL more to begin than to answer for one order. So numbers that wait
are looked up together, and under load each look-up costs a fraction of one alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from oms_core.api import documents
from oms_core.api.documents import Columns, Document
from oms_core.store.errors import AmbiguousError, DatabaseUnavailableError, NotReleasedError
from oms_core.store.postgres import Database

MOST_TOGETHER = 32
STATEMENTS = 1  # at a time: one more would answer for fewer


@dataclass
class _Seat:
    """One connection, once it is made, and the columns its statement was written for."""

    connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None
    columns: Columns = ()
    release_id: int | None = None


@dataclass
class _Waiting:
    number: str
    outcome: asyncio.Future[Document] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Gathering:
    """Looks orders of the current release up for the coroutines of one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._queue: deque[_Waiting] = deque()
        self._free = [_Seat() for _ in range(STATEMENTS)]
        self._at_work: set[asyncio.Task[None]] = set()

    async def find(self, number: str) -> Document:
        """The document of the order that a number leads to.

        Raises:
            NotReleasedError, AmbiguousError: see `documents.read`.
            DatabaseUnavailableError: the database does not answer.
        """
        waiting = _Waiting(number)
        self._queue.append(waiting)
        if self._free:
            task = asyncio.create_task(self._serve(self._free.pop()))
            self._at_work.add(task)
            task.add_done_callback(self._at_work.discard)
        return await waiting.outcome

    async def close(self) -> None:
        """Finish what waits, and close the connections."""
        await asyncio.gather(*self._at_work)
        for seat in self._free:
            if seat.connection is not None:
                await seat.connection.close()

    async def _serve(self, seat: _Seat) -> None:
        try:
            while self._queue:
                batch = [self._queue.popleft() for _ in range(min(len(self._queue), MOST_TOGETHER))]
                try:
                    rows = await self._ask(seat, [item.number for item in batch])
                except Exception as error:
                    for item in batch:
                        _settle(item, error)
                    continue
                for item, row in zip(batch, rows, strict=True):
                    try:
                        found = documents.read(item.number, row)
                    except (NotReleasedError, AmbiguousError) as error:
                        _settle(item, error)
                    else:
                        if not item.outcome.done():  # whoever asked may have gone
                            item.outcome.set_result(found)
        finally:
            self._free.append(seat)

    async def _ask(self, seat: _Seat, numbers: Sequence[str]) -> list[tuple[Any, ...]]:
        """The answer, once more where the server was restarted since or a release brought new columns meanwhile."""
        try:
            return await self._answer(seat, numbers)
        except (psycopg.OperationalError, psycopg.ProgrammingError):
            await self._leave(seat)
        try:
            return await self._answer(seat, numbers)
        except psycopg.OperationalError as error:
            await self._leave(seat)
            raise DatabaseUnavailableError(f"the database does not answer: {error}") from error

    async def _answer(self, seat: _Seat, numbers: Sequence[str]) -> list[tuple[Any, ...]]:
        if seat.connection is None:
            seat.connection = await self._database.reading_connection()
        while True:
            if not seat.columns:
                asked = await seat.connection.execute(documents.COLUMNS, documents.tables())
                seat.columns = documents.columns(await asked.fetchall())
            statement = documents.statement(seat.columns)
            cursor = await seat.connection.execute(statement, documents.parameters(numbers))
            rows = await cursor.fetchall()
            if seat.release_id == rows[0][1]:
                return rows
            # A release since may have brought columns: the same question, asked of all there is.
            before, seat.columns, seat.release_id = seat.columns, (), rows[0][1]
            asked = await seat.connection.execute(documents.COLUMNS, documents.tables())
            seat.columns = documents.columns(await asked.fetchall())
            if seat.columns == before:
                return rows

    async def _leave(self, seat: _Seat) -> None:
        connection, seat.connection, seat.columns, seat.release_id = seat.connection, None, (), None
        if connection is not None:
            with contextlib.suppress(psycopg.Error):  # it is lost already
                await connection.close()


def _settle(item: _Waiting, error: Exception) -> None:
    if not item.outcome.done():
        item.outcome.set_exception(error)
