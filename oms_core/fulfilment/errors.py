"""What can go wrong between an OMS service and the stock. Each error leaves everything as it was.

FulfilmentError
├── RequestError      what was asked for makes no sense: a fraction of a piece, nothing of something
├── UnknownError      no such SKU, node or reservation
├── ForeignError      the reservation is another tenant's
└── RefusedError      it makes sense and cannot be had: too little stock, a closed node, an expired reservation
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class FulfilmentError(Exception):
    """Base of the errors of this room. The message says what, where and what to do.

    Attributes:
        code: for programs, such as "insufficient-stock".
        details: further facts, JSON values.
    """

    def __init__(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.details = dict(details or {})


class RequestError(FulfilmentError):
    """What was asked for makes no sense."""


class UnknownError(FulfilmentError):
    """No such SKU, node or reservation."""


class ForeignError(FulfilmentError):
    """The reservation is another tenant's."""


class RefusedError(FulfilmentError):
    """What was asked for makes sense, and cannot be had now."""
