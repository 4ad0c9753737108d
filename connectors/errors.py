"""What can go wrong between us and a source system, grouped by what to do about it.

ConnectorError
├── FatalError            stop this stream, tell a person
│   ├── MissingSecretError    a credential is not set
│   ├── RefusedError          401, 403: the credential is wrong or lacks a permission
│   ├── ProtocolError         the answer is not what the vendor documents
│   │   └── GoneError             404, 410: no such record, or a token that has run out
│   └── DeclarationError      our own declaration is wrong
├── RetryableError        the same request may succeed later
│   ├── ThrottledError        429 or the vendor's own way to say it; carries the wait
│   ├── UnreachableError      no connection, time-out, reset
│   └── BrokenAnswerError     5xx, half a page, HTML where JSON is due
├── SkippableError        one row or file: quarantine it and go on
└── NotificationError     a notification that nobody acts on
    ├── ForgedError           unsigned, or signed by somebody else
    └── StaleError            signed too long ago
"""

from __future__ import annotations

from typing import Literal

ErrorKind = Literal["fatal", "retryable", "skippable", "unknown"]


class ConnectorError(Exception):
    """Base of every connector error. The message says what, where and what to do."""


class FatalError(ConnectorError):
    """Repeating the request will not help; a person has to act."""


class MissingSecretError(FatalError):
    """A credential the source needs is not set."""


class RefusedError(FatalError):
    """The source refused our credential or our permission (401, 403)."""


class ProtocolError(FatalError):
    """The answer is not what the vendor documents, or paging does not advance."""


class GoneError(ProtocolError):
    """The source has no such record, page or token (404, 410)."""


class DeclarationError(FatalError):
    """The declaration of a source or an export mapping is wrong."""


class RetryableError(ConnectorError):
    """The same request may succeed later."""

    def __init__(self, message: str, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class ThrottledError(RetryableError):
    """The source asks us to slow down."""


class UnreachableError(RetryableError):
    """No connection, a time-out or a reset."""


class BrokenAnswerError(RetryableError):
    """The answer arrived damaged or the server failed."""


class SkippableError(ConnectorError):
    """One row or one file cannot be used; it goes to quarantine and the rest goes on."""


class NotificationError(ConnectorError):
    """A notification is refused; nothing of it is kept."""


class ForgedError(NotificationError):
    """It does not bear the signature that the vendor would put on it."""


class StaleError(NotificationError):
    """It was signed longer ago than the vendor allows: delayed beyond use, or played back."""


def kind_of(error: ConnectorError) -> ErrorKind:
    """What to do about an error, as its group says."""
    if isinstance(error, FatalError):
        return "fatal"
    if isinstance(error, RetryableError):
        return "retryable"
    return "skippable" if isinstance(error, SkippableError) else "unknown"
