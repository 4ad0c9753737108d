"""What can go wrong with flows. Each error leaves everything as it was.

FlowError
├── DocumentError       a flow document that is none, or that the lint refuses
├── EventError          an event that makes no sense: unknown, from the future, with data nobody declared
├── UnknownError        no such flow, version, state or order in a flow
├── RoleError           another role decides here
└── ConflictError       it makes sense and comes too late, or somebody else was quicker
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class FlowError(Exception):
    """Base of the errors of this room. The message says what, where and what to do.

    Attributes:
        code: for programs, such as "unknown-event".
        details: further facts, JSON values.
    """

    def __init__(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.details = dict(details or {})


class DocumentError(FlowError):
    """A flow document that is none, or that the lint refuses."""


class EventError(FlowError):
    """An event that makes no sense."""


class UnknownError(FlowError):
    """No such flow, version, state or order in a flow."""


class RoleError(FlowError):
    """Another role decides here."""


class ConflictError(FlowError):
    """What was asked for makes sense, and comes too late or after somebody else."""
