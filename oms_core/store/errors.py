"""What can go wrong with the operational store.

StoreError
├── DatabaseUnavailableError    PostgreSQL cannot be started or reached
├── DatabaseRefusedError        PostgreSQL refused what we asked (role, privilege, version)
├── UnsupportedColumnError      a column's Arrow type has no place in PostgreSQL
├── NotReleasedError            the release, table or row asked for does not exist
└── AmbiguousError              a number leads to several rows
"""

from __future__ import annotations


class StoreError(Exception):
    """Base of every error of the operational store. The message says what, where and what to do."""


class DatabaseUnavailableError(StoreError):
    """PostgreSQL cannot be started or reached."""


class DatabaseRefusedError(StoreError):
    """PostgreSQL refused what we asked of it."""


class UnsupportedColumnError(StoreError):
    """A column has an Arrow type that has no place in PostgreSQL."""


class NotReleasedError(StoreError):
    """The release, table or row asked for does not exist."""


class AmbiguousError(StoreError):
    """A number leads to several rows, since systems reuse numbers. Nothing is guessed.

    Attributes:
        entity: "order", "customer" or "sku".
        number: as asked.
        candidates: golden ids of the rows, sorted.
    """

    def __init__(self, entity: str, number: str, candidates: tuple[str, ...]) -> None:
        super().__init__(
            f"{number!r} is the number of {len(candidates)} {entity}s: ask by one of their ids, {', '.join(candidates)}"
        )
        self.entity = entity
        self.number = number
        self.candidates = candidates
