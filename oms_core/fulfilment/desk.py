"""The desk where reservations are asked for: whoever comes while a transaction runs shares the next one.

Hot SKUs make transactions wait for each other's commit. So requests that wait are carried out together: one set of locks,
one write per position, one commit for all of them, and each still gets its own answer.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from oms_core.audit import log
from oms_core.fulfilment import ledger
from oms_core.fulfilment.errors import FulfilmentError
from oms_core.fulfilment.ledger import Answer, Command, RepeatNeededError
from oms_core.fulfilment.stock import PoolKey
from oms_core.store.errors import DatabaseUnavailableError
from oms_core.store.postgres import Database

MOST_TOGETHER = 64
GATHER_SECONDS = 0.003
T = TypeVar("T")
Asked = TypeVar("Asked")
Given = TypeVar("Given")
_ATTEMPTS = 5
# Deadlock, lock time-out, serialisation, a row somebody else made: nothing was done, and another try may do it.
_PASSING = ("40P01", "55P03", "40001", "23505")


@dataclass
class _Waiting(Generic[Asked, Given]):
    command: Asked
    request_id: str | None = field(default_factory=log.request_id.get)
    outcome: Given | Exception | None = None
    woken: threading.Event = field(default_factory=threading.Event)


class GroupCommit(Generic[Asked, Given]):
    """Carries commands out for the threads of one process; any number of processes may each have one.

    There is no thread of its own: whoever finds nobody at work works for all who wait, once, and hands on.
    """

    def __init__(
        self, carry_out: Callable[[Sequence[Asked], Sequence[str | None]], Sequence[Given | Exception]]
    ) -> None:
        """Make one.

        Args:
            carry_out: does what is asked in one transaction, which it commits; told the request each came with. What is
                refused is in the place of its answer.
        """
        self._carry_out = carry_out
        self._queue: deque[_Waiting[Asked, Given]] = deque()
        self._is_staffed = False
        self._last = 1  # how many were served together last
        self._mutex = threading.Lock()

    def ask(self, command: Asked) -> Given:
        """Carry a command out; when this returns, it is committed.

        Raises:
            Exception: it was refused, as `carry_out` says; nothing changed.
            DatabaseUnavailableError: the database does not answer. Whether the command was carried out is not known:
                asked again with the same idempotency key, it is carried out once.
        """
        waiting = _Waiting[Asked, Given](command)
        with self._mutex:
            self._queue.append(waiting)
            is_at_work, self._is_staffed = not self._is_staffed, True
        if not is_at_work:
            waiting.woken.wait()
        if waiting.outcome is None:  # woken to work: it is the first in the queue
            try:
                self._gather()
                self._last = min(len(self._queue), MOST_TOGETHER)
                self._work([self._queue.popleft() for _ in range(self._last)])
            finally:
                with self._mutex:
                    self._is_staffed = bool(self._queue)
                    if self._queue:
                        self._queue[0].woken.set()
        if isinstance(waiting.outcome, Exception):
            raise waiting.outcome
        assert waiting.outcome is not None
        return waiting.outcome

    def _gather(self) -> None:
        """Those who were just served are about to ask again: wait for them a moment, rather than they for a whole turn."""
        until = time.monotonic() + GATHER_SECONDS
        while len(self._queue) < self._last and time.monotonic() < until:
            time.sleep(GATHER_SECONDS / 10)

    def _work(self, batch: Sequence[_Waiting[Asked, Given]]) -> None:
        try:
            outcomes = self._carry_out([item.command for item in batch], [item.request_id for item in batch])
        except DatabaseUnavailableError as error:
            outcomes = [error] * len(batch)
        except Exception as error:
            if len(batch) > 1:  # one of them is at fault: the others shall not suffer
                for item in batch:
                    self._work([item])
                return
            outcomes = [error]
        except BaseException:  # whoever works for all is stopped: nobody else shall wait for it
            stopped = DatabaseUnavailableError("the process is being stopped; ask again with the same key")
            for item in batch:
                item.outcome = stopped
                item.woken.set()
            raise
        for item, outcome in zip(batch, outcomes, strict=True):
            item.outcome = outcome
            item.woken.set()


class Desk(GroupCommit[Command, Answer]):
    """Where reservations are asked for, extended, allocated and released; it refuses with a `FulfilmentError`."""

    def __init__(self, database: Database) -> None:
        super().__init__(lambda commands, requests: apply(database, commands, requests))


def apply(
    database: Database, commands: Sequence[Command], requests: Sequence[str | None] = ()
) -> list[Answer | FulfilmentError]:
    """Carry commands out in one transaction of their own, repeated where others came in between.

    Raises:
        DatabaseUnavailableError: see `Desk.ask`.
    """
    return repeat(database, lambda connection, _also: ledger.apply(connection, commands, requests))


def repeat(database: Database, work: Callable[[Connection, frozenset[PoolKey]], T]) -> T:
    """Do something in a transaction of its own, again where others came in between.

    Args:
        work: gets the connection, and pools that an earlier attempt found it must lock, too.
    """
    also: frozenset[PoolKey] = frozenset()
    for _attempt in range(_ATTEMPTS - 1):
        try:
            with database.begin() as connection:
                return work(connection, also)
        except RepeatNeededError as error:
            also |= error.also
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _PASSING:
                raise
    with database.begin() as connection:
        return work(connection, also)
