"""X12 envelopes: separators as the header names them, and control counts that must agree."""

from __future__ import annotations

import pytest

from connectors.x12 import read_x12


def interchange(
    *lines: str,
    number: str = "000000042",
    separator: str = "*",
    terminator: str = "~\n",
    tail: str | None = None,
) -> bytes:
    header = f"ISA*00*{'':10}*00*{'':10}*ZZ*{'DEALER':15}*ZZ*{'US':15}*261031*1405*^*00501*{number}*0*P*>"
    segments = [header, *lines, tail or f"IEA*1*{number}"]
    return "".join(segment.replace("*", separator) + terminator for segment in segments).encode()


SET = (
    "GS*CF*DEALER*US*20261031*1405*7*X*005010",
    "ST*844*0001",
    "BAA*00*DR*20261031*DB*C1",
    "SE*3*0001",
    "GE*1*7",
)


def test_a_set_carries_its_envelope() -> None:
    (found,) = read_x12(interchange(*SET))
    assert (found.code, found.number, found.sender, found.receiver) == ("844", "0001", "DEALER", "US")
    assert (found.interchange, found.group, found.prepared) == ("000000042", "7", ("20261031", "1405"))
    assert found.segments == (("BAA", "00", "DR", "20261031", "DB", "C1"),)


@pytest.mark.parametrize(("separator", "terminator"), [("|", "'"), ("*", "\n"), ("\x1d", "\x1c")])
def test_separators_are_those_of_the_header(separator: str, terminator: str) -> None:
    plain = read_x12(interchange(*SET))
    assert read_x12(interchange(*SET, separator=separator, terminator=terminator)) == plain


def test_several_interchanges_in_one_file() -> None:
    both = interchange(*SET) + interchange(*SET, number="000000043")
    assert [found.interchange for found in read_x12(both)] == ["000000042", "000000043"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "begins with ISA"),
        (b"Claim No.,Line\n", "begins with ISA"),
        (interchange(*SET)[:60], "cut off within its header"),
        (interchange(*SET)[:-20], "its trailer IEA is missing after"),
        (interchange(*SET)[:-2], "its trailer IEA is missing after"),
        (interchange(*SET[:3], "SE*4*0001", "GE*1*7"), "SE counts 4 segments, but 3 came"),
        (interchange(*SET[:3], "SE*3*0002", "GE*1*7"), "SE has the control number 0002"),
        (interchange(*SET[:4], "GE*2*7"), "GE counts 2 transaction sets, but 1 came"),
        (interchange(*SET[:4], "GE*1*8"), "GE has the control number 8"),
        (interchange(*SET, tail="IEA*2*000000042"), "IEA counts 2 groups, but 1 came"),
        (interchange(*SET, tail="IEA*1*000000099"), "IEA has the control number 000000099"),
        (interchange(*SET[:3], "GE*1*7"), "segment GE does not belong inside transaction set 0001"),
        (interchange("ST*844*0001"), "segment ST does not belong inside no group"),
        (interchange(*SET[:3], "SE*3", "GE*1*7"), "1 elements; 2 are needed"),
        (interchange("GS*CF*A*B*20261031*1405*7*X*005010", "GE*0*7"), "holds no transaction set"),
        (interchange(*SET).replace(b"*ZZ*DEALER ", b"*ZZ*DEALER"), "16 elements of fixed widths"),
    ],
)  # fmt: skip
def test_what_does_not_add_up_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_x12(content)
