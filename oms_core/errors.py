"""What a step of the hub says when it refuses to go on."""

from __future__ import annotations


class PipelineError(Exception):
    """A step refused to go on; nothing after it happened. The message says which, why and what to do."""


class CallError(PipelineError):
    """A name that was given does not exist, or options contradict each other."""
