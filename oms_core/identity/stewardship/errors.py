"""What can go wrong between a steward and the hub.

IdentityError
├── UnknownNameError       no record and no golden id has the name
├── AmbiguousNameError     a name leads to several records
├── ConflictError          somebody else decided first
├── ContradictionError     the decision contradicts others that stand
├── DecisionRefusedError   what was asked for is no decision about two records
└── ActivationRefusedError a model may not be activated yet
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oms_core.identity.stewardship.steward import Judged


class IdentityError(Exception):
    """Base of every error of identity's stewardship. The message says what, where and what to do."""


class UnknownNameError(IdentityError):
    """No record, golden id, task or decision has the name."""


class AmbiguousNameError(IdentityError):
    """A name leads to several records. Nothing is guessed.

    Attributes:
        name: as asked.
        candidates: record ids it could mean, sorted.
    """

    def __init__(self, name: str, candidates: Sequence[str]) -> None:
        shown = ", ".join(candidates[:10])
        super().__init__(
            f"{name!r} could be {len(candidates)} records: name one of them by its record id, {shown}"
        )
        self.name = name
        self.candidates = list(candidates)


class ConflictError(IdentityError):
    """Somebody else decided on the pair since it was looked at.

    Attributes:
        standing: the decision in force now, or None when the last one was withdrawn.
        version: of the pair now; see `steward.version`.
    """

    def __init__(self, message: str, standing: Judged | None, version: int) -> None:
        super().__init__(message)
        self.standing = standing
        self.version = version


class ContradictionError(IdentityError):
    """A decision would contradict others that stand.

    Attributes:
        chain: standing decisions that together say the opposite, in the order of the path.
    """

    def __init__(self, message: str, chain: Sequence[Judged]) -> None:
        super().__init__(message)
        self.chain = list(chain)


class DecisionRefusedError(IdentityError):
    """What was asked for is no decision about two records: one and the same record, no reason, an unknown judgement."""


class ActivationRefusedError(IdentityError):
    """A model may not be activated: nobody has seen what it would change, or that cannot be worked out now."""
