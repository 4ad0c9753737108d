"""UN/EDIFACT interchanges: UNA, UNB, UNG?, UNH … UNT, UNE?, UNZ, with the characters that UNA names and the control counts.

An interchange whose own counts or references do not agree lost messages on its way: nothing of it can be trusted. A message
that does not add up is handed on as broken, beside those that do.

Source: ISO 9735:1988 (syntax versions 1 to 3) and ISO 9735-1:2002 (version 4), data element 0001 for the character sets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_DEFAULT = ":+.? '"  # separators of components and elements, decimal mark, release, reserved, terminator
_BLANK = "\r\n \x1a"
_AGAIN = "ask the sender to send it again, whole"
_CODECS = {
    "UNOA": "ascii", "UNOB": "ascii", "UNOC": "iso8859-1", "UNOD": "iso8859-2", "UNOE": "iso8859-5", "UNOF": "iso8859-7",
    "UNOG": "iso8859-3", "UNOH": "iso8859-4", "UNOI": "iso8859-6", "UNOJ": "iso8859-8", "UNOK": "iso8859-9", "UNOY": "utf-8",
}  # fmt: skip
_UNPRINTED = re.compile("[\x80-\x9f]")
_NUMBER = re.compile(r"-?[0-9]+|-?[0-9]*([.,])[0-9]+")


@dataclass(frozen=True)
class EdifactSegment:
    """A segment as its elements, each as its components, the tag first: `(("MOA",), ("203", "12,50"))`."""

    place: int  # in its interchange, from 1, UNA not counted
    elements: tuple[tuple[str, ...], ...]

    def part(self, element: int, component: int = 0) -> str:
        """A component by its place, both from 0, the tag being element 0; empty where the segment ends before it."""
        components = self.elements[element] if element < len(self.elements) else ()
        return components[component] if component < len(components) else ""


@dataclass(frozen=True)
class EdifactMessage:
    """One document of an interchange.

    Attributes:
        type, release: of the message (UNH S009), such as `INVOIC` and `D:96A`.
        reference: its own (UNH 0062).
        sender, receiver: interchange ids (UNB 0004 and 0010).
        interchange, group: control references (UNB 0020, UNG 0048); no group: empty.
        marks: what may stand before decimals; the mark of UNA, or either of both where the syntax version is 4.
        segments: between UNH and UNT.
    """

    type: str
    release: str
    reference: str
    sender: str
    receiver: str
    interchange: str
    group: str
    marks: str
    segments: tuple[EdifactSegment, ...]

    def number(self, segment: EdifactSegment, element: int = 1, component: int = 1) -> str:
        """A number of a segment with a point, whatever its mark: `12,50` is 12.50 where UNA names the comma.

        Raises:
            ValueError: it is none, or has another mark.
        """
        text = segment.part(element, component)
        found = _NUMBER.fullmatch(text)
        if found is None or (found[1] or self.marks[0]) not in self.marks:
            raise ValueError(
                f"segment {segment.place} ({segment.part(0)}): {text!r} is no number with the decimal mark "
                f"{' or '.join(self.marks)}; ask the sender to write numbers with the mark that UNA names"
            )
        return text.replace(",", ".")


@dataclass(frozen=True)
class BrokenMessage:
    """A message that cannot be read; `fault` says which, at which segment, and what to do."""

    reference: str
    fault: str


def read_edifact(content: bytes) -> list[EdifactMessage | BrokenMessage]:
    """Read every message of the interchanges in a file.

    Raises:
        ValueError: no EDIFACT, cut off, of a character set that is not read, or an interchange or group whose count or
            reference disagrees with its trailer; it says what is wrong, where, and what to do.
    """
    # Bytes as characters: each interchange names its own character set, each of which leaves the service characters alone.
    text = content.removeprefix(b"\xef\xbb\xbf").decode("latin-1").lstrip(_BLANK)
    found: list[EdifactMessage | BrokenMessage] = []
    while text or not found:
        characters, text = _read_advice(text)
        terminator, release = characters[5], characters[3].strip()
        *raws, rest = _split(text, terminator, release)
        raws = [raw.lstrip("\r\n") for raw in raws]
        last = next((place for place, raw in enumerate(raws) if raw.startswith("UNZ")), None)
        if last is None:
            raise ValueError(
                f"the interchange is cut off: its trailer UNZ is missing after {len(raws)} segments; {_AGAIN}"
            )
        found += _Interchange(characters, raws[: last + 1]).messages()
        text = terminator.join([*raws[last + 1 :], rest]).lstrip(_BLANK)
    return found


def _read_advice(text: str) -> tuple[str, str]:
    """The service characters, of UNA or those of the standard, and the text from UNB on."""
    characters = _DEFAULT
    if text.startswith("UNA"):
        characters, text = text[3:9], text[9:].lstrip("\r\n")
        used = [character for place, character in enumerate(characters) if place != 4 and character != " "]
        if len(characters) < 6 or len(set(used)) < len(used) or " " in characters[:3] + characters[5]:
            raise ValueError(f"UNA names the service characters {characters!r}, which cannot be; {_AGAIN}")
    if not text.startswith("UNB"):
        raise ValueError(f"an interchange begins with UNA or UNB, not {text[:12]!r}; {_AGAIN}")
    return characters, text


def _split(text: str, separator: str, release: str) -> list[str]:
    """Split at the separators that no release character takes its meaning from; what is released stays as it is."""
    pieces = text.split(separator)
    if not release or release not in text:
        return pieces
    found: list[str] = []
    is_released = False
    for piece in pieces:
        if is_released:
            found[-1] += separator + piece
        else:
            found.append(piece)
        is_released = (len(piece) - len(piece.rstrip(release))) % 2 == 1
    return found


class _Interchange:
    """Takes the segments of one interchange apart, from UNB to UNZ, as they were received."""

    def __init__(self, characters: str, raws: list[str]) -> None:
        self._component, self._element, mark = characters[0], characters[1], characters[2]
        self._release = characters[3].strip()
        self._released = re.compile(re.escape(self._release) + "(.)", re.DOTALL)
        self._raws = raws
        self._codec, self._set = "latin-1", ""
        header = self._segment(0)
        self._named = f"interchange {header.part(5)}"
        self._set = header.part(1)
        if self._set not in _CODECS:
            raise ValueError(
                f"{self._named}: UNB names the character set {self._set!r}; {', '.join(_CODECS)} are read; "
                "agree on one of them with the sender"
            )
        self._codec = _CODECS[self._set]
        self._marks = ",." if header.part(1, 1) == "4" else mark
        self._header = self._segment(0)
        self._seen: set[tuple[str, str]] = set()

    def messages(self) -> Iterator[EdifactMessage | BrokenMessage]:
        """Every message, whole or broken; the envelope is held to its trailers."""
        group = ""
        groups = messages = in_group = 0
        begun: int | None = None
        for place, raw in enumerate(self._raws[1:], start=1):
            tag = raw[:3]
            if begun is not None and tag in ("UNT", "UNH", "UNG", "UNE", "UNZ"):
                yield self._message(begun, place, group)
                begun = None
                if tag == "UNT":
                    continue
            match tag:
                case "UNH":
                    begun, messages, in_group = place, messages + 1, in_group + 1
                case "UNG" if not group:
                    group, groups, in_group = self._segment(place).part(5), groups + 1, 0
                case "UNE" if group:
                    self._hold(f"group {group}", place, in_group, group)
                    group = ""
                case "UNZ" if not group:
                    self._hold(self._named, place, groups or messages, self._header.part(5))
                case _ if begun is None:
                    inside = f"group {group}" if group else "an interchange outside its messages"
                    raise ValueError(
                        f"{self._named}: segment {place + 1} ({tag}) does not belong into {inside}; {_AGAIN}"
                    )
        if not messages:
            raise ValueError(f"{self._named} holds no message; {_AGAIN}")

    def _message(self, begun: int, ended: int, group: str) -> EdifactMessage | BrokenMessage:
        """The message from its UNH to the segment that ends it."""
        reference = f"at segment {begun + 1}"
        try:
            header = self._segment(begun)
            reference = header.part(1)
            if not self._raws[ended].startswith("UNT"):
                raise ValueError(
                    f"segment {ended + 1}: its trailer UNT is missing before {self._raws[ended][:3]}"
                )
            segments = tuple(self._segment(place) for place in range(begun + 1, ended))
            self._hold(f"segment {ended + 1}", ended, len(segments) + 2, reference)
            if (group, reference) in self._seen:
                raise ValueError(
                    f"segment {begun + 1}: another message of the interchange has this reference"
                )
            self._seen.add((group, reference))
        except ValueError as error:
            said = str(error).removesuffix(f"; {_AGAIN}")
            return BrokenMessage(reference, f"{self._named}, message {reference}: {said}; {_AGAIN}")
        return EdifactMessage(
            header.part(2), f"{header.part(2, 1)}:{header.part(2, 2)}", reference, self._header.part(2),
            self._header.part(3), self._header.part(5), group, self._marks, segments,
        )  # fmt: skip

    def _segment(self, place: int) -> EdifactSegment:
        """A segment in characters.

        Raises:
            ValueError: its bytes are of another character set than the one UNB names.
        """
        raw = self._raws[place].encode("latin-1")
        try:
            text = raw.decode(self._codec)
        except UnicodeDecodeError as error:
            raise ValueError(self._wrong_set(place, raw[error.start : error.start + 1])) from error
        # ISO 8859 has a character for any byte: text that was written in another set would pass as nonsense.
        if self._codec.startswith("iso") and not raw.isascii():
            odd = _UNPRINTED.search(text)
            if odd is not None:
                raise ValueError(self._wrong_set(place, raw[odd.start() : odd.end()]))
            if _is_utf8(raw):
                raise ValueError(
                    f"segment {place + 1} is UTF-8, but UNB names {self._set}; {self._set_remedy}"
                )
        return EdifactSegment(
            place + 1,
            tuple(
                tuple(self._plain(text) for text in _split(element, self._component, self._release))
                for element in _split(text, self._element, self._release)
            ),
        )

    def _wrong_set(self, place: int, byte: bytes) -> str:
        return (
            f"segment {place + 1}: the byte {byte.hex().upper()} is none of the character set {self._set} that UNB names; "
            f"{self._set_remedy}"
        )

    @property
    def _set_remedy(self) -> str:
        return "ask the sender to write all of it in one character set and to name that one"

    def _plain(self, text: str) -> str:
        return self._released.sub(r"\1", text) if self._release and self._release in text else text

    def _hold(self, what: str, place: int, count: int, reference: str) -> None:
        """Hold a trailer to what came: its count, and the reference of its header."""
        trailer = self._segment(place)
        tag, stated, named = trailer.part(0), trailer.part(1), trailer.part(2)
        if not stated.isdigit() or int(stated) != count:
            raise ValueError(
                f"{what}: its trailer {tag} counts {stated or 'nothing'}, but {count} came; {_AGAIN}"
            )
        if not reference or named != reference:
            raise ValueError(
                f"{what}: its trailer {tag} refers to {named!r}, its header to {reference!r}; {_AGAIN}"
            )


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
