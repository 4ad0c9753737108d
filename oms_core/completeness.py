"""Control counts: what sources say how many rows they have, beside what is here.

A count of a whole stream is told before and after a pull. Fewer here than both: rows are missing, and the law is broken. More
here than both: rows were deleted at the source without a word. What lies between is what changed meanwhile. A window of
which less came than was told stays a fault until a later pull has asked for all of it again and got it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal


@dataclass(frozen=True)
class Told:
    """What a source told, oldest first as they come; fields as in `connectors.landing.ControlCount`."""

    source: str
    stream: str
    scope: Literal["stream", "pull", "window"]
    least: int | None
    most: int | None
    received: int | None
    since: datetime | None
    until: datetime | None
    complaint: str | None


@dataclass(frozen=True)
class Held:
    """What is here of a stream.

    Attributes:
        distinct: keys that landed.
        waiting: further rows that wait in quarantine.
        deleted: keys of those that landed which the source is known to have deleted.
        is_whole: whether the stream was ever pulled from its beginning, and no batch of it waits for gate 1.
    """

    distinct: int
    waiting: int
    deleted: int
    is_whole: bool


@dataclass(frozen=True)
class Comparison:
    """One count beside what is here.

    Attributes:
        scope: `stream` or `window`.
        told: rows by the source; None where it would not say.
        held: rows here.
        difference: rows missing here, negative for those deleted at the source; 0 where both agree.
        state: complete, missing, deleted, not_compared.
        sentence: what is wrong and what to do; empty where complete.
    """

    source: str
    stream: str
    scope: str
    since: datetime | None
    until: datetime | None
    told: int | None
    held: int | None
    difference: int
    state: Literal["complete", "missing", "deleted", "not_compared"]
    sentence: str = ""


def compare(told: Iterable[Told], held: Mapping[tuple[str, str], Held]) -> list[Comparison]:
    """Compare the last count of each stream, and what was told of windows, with what is here.

    Args:
        told: everything sources told, oldest first.
        held: (source, stream) -> what is here.
    """
    by_stream: dict[tuple[str, str], list[Told]] = {}
    for item in told:
        by_stream.setdefault((item.source, item.stream), []).append(item)
    found = []
    for place, items in sorted(by_stream.items()):
        whole = [item for item in items if item.scope == "stream"]
        if whole and place in held:
            found.append(_whole(whole[-1], held[place]))
        found += _windows(items)
    return found


def _whole(item: Told, held: Held) -> Comparison:
    name, here = f"{item.source}.{item.stream}", held.distinct + held.waiting - held.deleted
    asked = (item.source, item.stream, "stream", None, None)
    if item.least is None or item.most is None:
        why = f"{name}: not compared with the source's own count: {item.complaint}"
        return Comparison(*asked, None, here, 0, "not_compared", why)
    if not held.is_whole:
        why = f"{name}: not compared with the source's own count of {item.most:,}: it was not pulled from its beginning, or waits"
        return Comparison(*asked, item.most, here, 0, "not_compared", why)
    if here < item.least:
        return Comparison(
            *asked, item.least, here, item.least - here, "missing",
            f"{name}: the source counts {item.least:,} rows, {here:,} are here, {item.least - here:,} never came; read it "
            f"again: orderhub pull {item.source} --stream {item.stream} --full",
        )  # fmt: skip
    if here > item.most:
        return Comparison(
            *asked, item.most, here, item.most - here, "deleted",
            f"{name}: {here:,} rows are here, the source counts {item.most:,}: {here - item.most:,} were deleted there without "
            f"a word; see which: orderhub pull {item.source} --stream {item.stream} --sweep",
        )  # fmt: skip
    return Comparison(*asked, here, here, 0, "complete")


def _windows(items: Sequence[Told]) -> list[Comparison]:
    """The sum of the last pull, and each window, of any pull, that was never made good."""
    found = []
    pulls = [(place, item) for place, item in enumerate(items) if item.scope == "pull"]
    if pulls:
        last = pulls[-1][1]
        if last.least == last.received:
            found.append(_window(last, "complete"))
    for place, item in enumerate(items):
        if item.scope == "window" and not any(
            later > place and pull.least == pull.received and _covers(pull, item) for later, pull in pulls
        ):
            found.append(_window(item, "missing"))
    return found


def _covers(pull: Told, window: Told) -> bool:
    begins = pull.since is None or (window.since is not None and pull.since <= window.since)
    return begins and (pull.until is None or (window.until is not None and window.until <= pull.until))


def _window(item: Told, state: Literal["complete", "missing"]) -> Comparison:
    told, held = item.least or 0, item.received or 0
    sentence = ""
    if state == "missing":
        bounds = "".join(
            f" --{name} {at.astimezone(UTC).isoformat()}"
            for name, at in (("since", item.since), ("until", item.until))
            if at
        )
        sentence = (
            f"{item.source}.{item.stream}: the source told {told:,} rows of a window, {held:,} came; read it again: orderhub "
            f"pull {item.source} --stream {item.stream}{bounds}"
        )
    return Comparison(
        item.source, item.stream, "window", item.since, item.until, told, held, told - held, state, sentence
    )
