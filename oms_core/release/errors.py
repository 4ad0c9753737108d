"""What can go wrong with a release.

ReleaseError
├── BusyError           another publication is under way
├── RejectedError       the tables given cannot become a release
└── QueryRefusedError   a user's query writes, is not one statement, or is not understood
"""

from __future__ import annotations


class ReleaseError(Exception):
    """Base of every release error. The message says what, where and what to do; nothing was published."""


class BusyError(ReleaseError):
    """Another publication is under way."""


class RejectedError(ReleaseError):
    """The tables given cannot become a release."""


class QueryRefusedError(ReleaseError):
    """A user's query writes, is not one statement, runs too long, or is not understood."""
