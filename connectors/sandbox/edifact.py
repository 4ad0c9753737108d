"""UN/EDIFACT as the dealers of Europe and we write it: a comma before decimals, text in Latin 1, a line per segment.

Source: ISO 9735, syntax version 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

ADVICE = "UNA:+,? '"
Part = str | int | Decimal
Element = Part | Sequence[Part]
Segment = Sequence[Element]


def write_segment(segment: Segment) -> str:
    """A segment with its terminator; each element a value or a composite of several.

    Trailing blanks are left out, and characters that mean something are released.
    """
    return "+".join(_trimmed([_element(element) for element in segment])) + "'"


def _element(element: Element) -> str:
    parts = [element] if isinstance(element, str | int | Decimal) else element
    return ":".join(_trimmed([_text(part) for part in parts]))


def _trimmed(texts: list[str]) -> list[str]:
    while len(texts) > 1 and not texts[-1]:
        texts.pop()
    return texts


def _text(part: Part) -> str:
    if isinstance(part, Decimal):
        return f"{part:f}".replace(".", ",")
    return "".join(f"?{character}" if character in "?:+'" else character for character in str(part))


def write_interchange(
    sender: str, receiver: str, reference: str, day: date, messages: Sequence[tuple[str, Sequence[Segment]]]
) -> bytes:
    """An interchange of messages of directory D.96A, each as its type and the segments between UNH and UNT."""
    written: list[Segment] = [
        ("UNB", ("UNOC", 3), (sender, "ZZZ"), (receiver, "ZZZ"), (f"{day:%y%m%d}", "1200"), reference)
    ]
    for place, (kind, body) in enumerate(messages, start=1):
        written += [
            ("UNH", place, (kind, "D", "96A", "UN")),
            *body,
            ("UNT", len(body) + 2, place),
        ]
    written.append(("UNZ", len(messages), reference))
    return "\r\n".join([ADVICE, *map(write_segment, written), ""]).encode("iso8859-1")
