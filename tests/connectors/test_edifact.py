"""EDIFACT envelopes: characters as UNA names them, one character set, and counts and references that must agree."""

from __future__ import annotations

import contextlib
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.edifact import BrokenMessage, EdifactMessage, read_edifact
from connectors.sandbox.edifact import write_interchange, write_segment

BODY = ("UNH+1+INVOIC:D:96A:UN'", "BGM+84+RC-1+9'", "MOA+203:12,50'", "UNT+4+1'")
HEAD, TAIL = "UNB+UNOC:3+DEALER:14+US:14+261005:1200+42'", "UNZ+1+42'"


def interchange(*lines: str, una: str = "UNA:+,? '", head: str = HEAD, tail: str = TAIL) -> bytes:
    return "\r\n".join([una, head, *(lines or BODY), tail]).encode("latin-1")


def whole(content: bytes) -> list[EdifactMessage]:
    found = read_edifact(content)
    assert all(isinstance(one, EdifactMessage) for one in found), found
    return [one for one in found if isinstance(one, EdifactMessage)]


def broken(content: bytes) -> str:
    (fault,) = [one.fault for one in read_edifact(content) if isinstance(one, BrokenMessage)]
    return fault


def test_a_message_carries_its_envelope() -> None:
    (found,) = whole(interchange())
    assert (found.type, found.release, found.reference) == ("INVOIC", "D:96A", "1")
    assert (found.sender, found.receiver, found.interchange, found.group) == ("DEALER", "US", "42", "")
    assert [segment.elements for segment in found.segments] == [
        (("BGM",), ("84",), ("RC-1",), ("9",)),
        (("MOA",), ("203", "12,50")),
    ]
    assert found.segments[1].part(1, 1) == "12,50"
    assert found.segments[1].part(7) == found.segments[1].part(1, 7) == ""
    assert found.number(found.segments[1]) == "12.50"


def test_characters_are_those_of_the_advice() -> None:
    moved = interchange().decode().replace("UNA:+,? '", "").translate(str.maketrans(":+'", "|^~"))
    (plain,), (found,) = whole(interchange()), whole(b"UNA|^,! ~" + moved.encode())
    assert found == plain


def test_without_an_advice_the_characters_are_the_standards() -> None:
    (found,) = whole(interchange(una="").replace(b"12,50", b"12.50"))
    assert found.number(found.segments[1]) == "12.50"


def test_version_4_takes_either_mark() -> None:
    head = HEAD.replace("UNOC:3", "UNOC:4")
    for text in (b"12,50", b"12.50"):
        (found,) = whole(interchange(head=head).replace(b"12,50", text))
        assert found.number(found.segments[1]) == "12.50"


@pytest.mark.parametrize("text", ["12.50", "1.234,50", "", "12,", "a dozen", "1e3", "٣"])
def test_a_number_has_the_mark_of_the_advice(text: str) -> None:
    head = HEAD.replace("UNOC", "UNOY")
    (found,) = whole(interchange(head=head).replace(b"12,50", text.encode()))
    with pytest.raises(ValueError, match=r"segment 4 \(MOA\): .* is no number with the decimal mark ,"):
        found.number(found.segments[1])


def test_groups_and_several_interchanges_in_one_file() -> None:
    group = ("UNG+INVOIC+A+B+261005:1200+7+UN+D:96A'", *BODY, "UNE+1+7'")
    first = interchange(*group)
    second = interchange(una="UNA:+.! ~", head=HEAD.replace("+42'", "+43'"), tail="UNZ+1+43'")
    found = whole(
        first + b"\r\n" + second.replace(b"'\r\n", b"~\r\n").replace(b"43'", b"43~").replace(b",", b".")
    )
    assert [(one.interchange, one.group) for one in found] == [("42", "7"), ("43", "")]
    assert [one.number(one.segments[1]) for one in found] == ["12.50", "12.50"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "begins with UNA or UNB"),
        (b"Claim No.,Line\n", "begins with UNA or UNB"),
        (interchange().decode().encode("utf-16"), "begins with UNA or UNB"),
        (b"UNA:+,?", "service characters"),
        (interchange(una="UNA:::? '"), "service characters"),
        (interchange()[:-10], "cut off: its trailer UNZ is missing after 5 segments"),
        (interchange()[:-1], "cut off: its trailer UNZ is missing after 5 segments"),
        (interchange(tail="UNZ+2+42'"), "interchange 42: its trailer UNZ counts 2, but 1 came"),
        (interchange(tail="UNZ++42'"), "counts nothing, but 1 came"),
        (interchange(tail="UNZ+1+43'"), "refers to '43', its header to '42'"),
        (interchange("UNG+INVOIC+A+B+261005:1200+7'", *BODY, "UNE+2+7'"), "group 7: its trailer UNE counts 2"),
        (interchange("UNG+INVOIC+A+B+261005:1200+7'", *BODY, "UNE+1+8'"), "UNE refers to '8'"),
        (interchange("BGM+84'", *BODY), r"segment 2 \(BGM\) does not belong into an interchange outside"),
        (interchange("UNT+2+1'"), r"segment 2 \(UNT\) does not belong"),
        (interchange("UNG+I+A+B+261005:1200+7'", *BODY), r"segment 7 \(UNZ\) does not belong into group 7"),
        (interchange("UNG+I+A+B+261005:1200+7'", "UNE+0+7'"), "holds no message"),
        (interchange(head=HEAD.replace("UNOC", "KECA")), "the character set 'KECA'; UNOA, UNOB"),
        (interchange(head=HEAD.replace("UNOC", "UNOA").replace("DEALER", "DÉALER")), r"segment 1: the byte C9 is none of the character set UNOA"),
    ],
)  # fmt: skip
def test_an_envelope_that_does_not_add_up_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        read_edifact(content)
    assert "ask the sender to" in str(refused.value) or "agree on one" in str(refused.value)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((*BODY[:3], "UNT+5+1'"), "message 1: segment 5: its trailer UNT counts 5, but 4 came"),
        ((*BODY[:3], "UNT+4+2'"), "UNT refers to '2', its header to '1'"),
        (BODY[:3], "segment 5: its trailer UNT is missing before UNH"),
        (("UNH'", *BODY[1:3], "UNT+4'"), "UNT refers to '', its header to ''"),
    ],
)
def test_a_message_that_does_not_add_up_is_broken_alone(lines: tuple[str, ...], said: str) -> None:
    other = [line.replace("+1'", "+9'").replace("UNH+1", "UNH+9") for line in BODY]
    content = interchange(*lines, *other, tail="UNZ+2+42'")
    assert said in broken(content) and "send it again" in broken(content)
    assert [one.reference for one in read_edifact(content) if isinstance(one, EdifactMessage)] == ["9"]


def test_two_messages_of_one_reference_are_not_taken_for_one() -> None:
    assert "another message of the interchange has this reference" in broken(
        interchange(*BODY, *BODY, tail="UNZ+2+42'")
    )


@pytest.mark.parametrize(
    ("charset", "name", "said"),
    [
        ("UNOA", "MÜLLER".encode("latin-1"), "the byte DC is none of the character set UNOA"),
        ("UNOC", "Müller".encode(), "is UTF-8, but UNB names UNOC"),
        ("UNOC", "Müller –".encode("cp1252"), "the byte 96 is none of the character set UNOC"),
        ("UNOY", "Müller".encode("latin-1"), "the byte FC is none of the character set UNOY"),
        ("UNOG", b"\xa5", "the byte A5 is none of the character set UNOG"),
    ],
)
def test_another_character_set_than_the_named_one_breaks_the_message(
    charset: str, name: bytes, said: str
) -> None:
    content = interchange(BODY[0], "NAD+BY+1'", *BODY[2:], head=HEAD.replace("UNOC", charset))
    fault = broken(content.replace(b"NAD+BY+1", b"NAD+BY+" + name))
    assert "message 1: segment 3" in fault and said in fault and "one character set" in fault


@pytest.mark.parametrize(
    ("charset", "codec"),
    [("UNOC", "latin-1"), ("UNOD", "iso8859-2"), ("UNOE", "iso8859-5"), ("UNOY", "utf-8")],
)
def test_characters_beyond_ascii_are_read_by_the_named_set(charset: str, codec: str) -> None:
    name = {"UNOD": "Łódź", "UNOE": "Москва"}.get(charset, "Grünwald")
    content = interchange(BODY[0], "NAD+BY+1'", *BODY[2:], head=HEAD.replace("UNOC", charset))
    (found,) = whole(content.replace(b"NAD+BY+1", b"NAD+BY+" + name.encode(codec)))
    assert found.segments[0].part(2) == name


# A line end may follow a terminator, so a tag never begins with one; blanks at the end of an element are not written.
PRINTABLE = st.text(st.sampled_from("?:+'ab ä,.-1"), max_size=12)


@given(st.lists(st.lists(PRINTABLE, min_size=1, max_size=4), min_size=1, max_size=6))
def test_what_is_written_is_read(elements: list[list[str]]) -> None:
    """Whatever stands in a segment comes back, its trailing empty parts aside."""
    content = write_interchange("A", "B", "42", date(2026, 10, 5), [("INVOIC", [("FTX", *elements)])])
    (found,) = whole(content)
    (segment,) = found.segments
    for place, element in enumerate(elements, start=1):
        for position, text in enumerate(element):
            assert segment.part(place, position) == text
    # What was read is written as it was received.
    assert write_segment(segment.elements).encode("latin-1") in content


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**12), max_value=10**12))
def test_an_amount_that_is_written_is_read(amount: Decimal) -> None:
    content = write_interchange("A", "B", "42", date(2026, 10, 5), [("INVOIC", [("MOA", (203, amount))])])
    (found,) = whole(content)
    assert Decimal(found.number(found.segments[0])) == amount


@given(st.binary(max_size=200), st.integers(0, 200))
def test_damage_is_said_and_nothing_else_raised(junk: bytes, at: int) -> None:
    content = interchange()
    for damaged in (junk, content[:at] + junk + content[at:]):
        with contextlib.suppress(ValueError):
            read_edifact(damaged)
