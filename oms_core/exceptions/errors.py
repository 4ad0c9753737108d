"""What can go wrong with exceptions. Each error leaves everything as it was.

ExceptionError
├── ResolutionError       the resolution is none of its kind
├── UnknownExceptionError no exception has the id
└── DecidedError          somebody decided first, its cause is gone, or it changed since
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ExceptionError(Exception):
    """Base of the errors of this room. The message says what, where and what to do.

    Attributes:
        code: for programs, such as "unknown-exception".
        details: further facts, JSON values.
    """

    def __init__(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.details = dict(details or {})


class ResolutionError(ExceptionError):
    """The resolution is none of its kind."""


class UnknownExceptionError(ExceptionError):
    """No exception has the id."""


class DecidedError(ExceptionError):
    """Somebody decided first, its cause is gone, or it changed since."""
