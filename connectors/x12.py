"""ASC X12 interchanges: the envelope ISA/GS/ST … SE/GE/IEA, with the separators it names itself and its control counts.

An interchange whose counts or control numbers do not agree lost something on its way: nothing of it can be trusted.

Source: ANSI ASC X12.5 (interchange control structures) and X12.6 (application control structure), release 005010.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_HEADER_LENGTH = 106
_BLANK = "\r\n \x1a"
_WIDTHS = (2, 10, 2, 10, 2, 15, 2, 15, 6, 4, 1, 5, 9, 1, 1, 1)

Segment = tuple[str, ...]


@dataclass(frozen=True)
class TransactionSet:
    """One document of an interchange.

    Attributes:
        code: transaction set identifier (ST01), such as `844`.
        number: its control number within the group (ST02).
        sender, receiver: interchange ids (ISA06, ISA08), without padding.
        interchange, group: control numbers (ISA13, GS06).
        prepared: date and time of the group (GS04 and GS05), as written, such as `20261031` and `1405`.
        segments: between ST and SE, each as its elements: `("CTT", "2", "36")`.
    """

    code: str
    number: str
    sender: str
    receiver: str
    interchange: str
    group: str
    prepared: tuple[str, str]
    segments: tuple[Segment, ...]


def read_x12(content: bytes) -> list[TransactionSet]:
    """Read every transaction set of the interchanges in a file.

    Raises:
        ValueError: no X12, cut off, or a control count or number that disagrees; the message says which and where.
    """
    text = content.decode("utf-8").lstrip(_BLANK)
    found: list[TransactionSet] = []
    while text.strip(_BLANK) or not found:
        header, separator, terminator = _read_header(text)
        # What stands behind the last terminator is no whole segment.
        *parts, rest = text.split(terminator)
        lines = [tuple(part.strip("\r\n").split(separator)) for part in parts]
        last = next((place for place, line in enumerate(lines) if line[0] == "IEA"), None)
        if last is None:
            raise ValueError(
                f"interchange {header[13]} is cut off: its trailer IEA is missing after {len(lines)} segments"
            )
        found += _read_interchange(header, lines[1 : last + 1])
        if not found:
            raise ValueError(f"interchange {header[13]} holds no transaction set")
        text = terminator.join([*parts[last + 1 :], rest]).lstrip(_BLANK)
    return found


def _read_header(text: str) -> tuple[Segment, str, str]:
    """The ISA segment, the element separator and the segment terminator: its fixed widths say where they are."""
    if not text.startswith("ISA"):
        raise ValueError(f"an interchange begins with ISA, not {text[:12]!r}")
    if len(text) < _HEADER_LENGTH:
        raise ValueError(f"the interchange is cut off within its header, after {len(text)} characters")
    separator, terminator = text[3], text[_HEADER_LENGTH - 1]
    header = tuple(text[: _HEADER_LENGTH - 1].split(separator))
    if tuple(map(len, header[1:])) != _WIDTHS:
        raise ValueError("the interchange header ISA does not have its 16 elements of fixed widths")
    return header, separator, terminator


def _read_interchange(header: Segment, segments: list[Segment]) -> Iterator[TransactionSet]:
    """Take an interchange apart, holding each trailer to its header; the last segment is IEA."""
    number = header[13]
    groups = 0
    group: Segment | None = None
    opened: Segment | None = None
    body: list[Segment] = []
    sets = 0
    for segment in segments:
        kind = segment[0]
        if kind == "GS" and group is None:
            group, sets = _long(segment, 9), 0
        elif kind == "ST" and group is not None and opened is None:
            opened, body = _long(segment, 3), []
        elif kind == "SE" and opened is not None and group is not None:
            _same(f"transaction set {opened[2]}", segment, len(body) + 2, opened[2], "segments")
            yield TransactionSet(
                opened[1], opened[2], header[6].strip(), header[8].strip(), number, group[6], (group[4], group[5]),
                tuple(body),
            )  # fmt: skip
            opened, sets = None, sets + 1
        elif kind == "GE" and group is not None and opened is None:
            _same(f"group {group[6]}", segment, sets, group[6], "transaction sets")
            group, groups = None, groups + 1
        elif kind == "IEA" and group is None:
            _same(f"interchange {number}", segment, groups, number, "groups")
        elif opened is not None and kind not in ("ISA", "GS", "ST", "GE", "IEA"):
            body.append(segment)
        else:
            inside = (
                f"transaction set {opened[2]}" if opened else f"group {group[6]}" if group else "no group"
            )
            raise ValueError(f"interchange {number}: segment {kind} does not belong inside {inside}")


def _long(segment: Segment, length: int) -> Segment:
    if len(segment) < length:
        raise ValueError(
            f"segment {'*'.join(segment)} has {len(segment) - 1} elements; {length - 1} are needed"
        )
    return segment


def _same(what: str, trailer: Segment, count: int, number: str, things: str) -> None:
    stated, named = _long(trailer, 3)[1:3]
    if not stated.isdigit() or int(stated) != count:
        raise ValueError(f"{what}: its trailer {trailer[0]} counts {stated} {things}, but {count} came")
    if named.lstrip("0") != number.lstrip("0"):
        raise ValueError(f"{what}: its trailer {trailer[0]} has the control number {named}")
