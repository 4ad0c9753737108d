"""The waterfall adds up, in characters and as a drawing that needs nothing else."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms_core.identity.stewardship.waterfall import Step, bars, percent, probability, svg, total

STEPS = [
    Step("prior", -6.6, "before"),
    Step("email", 9.8, "equal: a | a"),
    Step("名字", -1.2, "<different> & more"),
]
_steps = st.lists(
    st.builds(Step, st.text(max_size=40), st.floats(-1e6, 1e6), st.text(max_size=80)), max_size=12
)


def test_the_weights_sum_to_log_odds() -> None:
    assert total(STEPS) == pytest.approx(2.0)
    assert probability(2.0) == pytest.approx(0.8)
    assert probability(0) == 0.5
    assert (probability(5000), probability(-5000)) == (1.0, pytest.approx(0.0))


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.8, "80.0 %"),
        (0.5, "50.0 %"),
        (0.9999, "99.990 %"),
        (0.00012, "0.012 %"),
        (1.0, "100%"),
        (0.0, "0%"),
    ],
)
def test_probabilities_are_written_with_the_digits_that_matter(share: float, words: str) -> None:
    assert percent(share) == words


def test_bars_show_for_and_against() -> None:
    lines = bars(STEPS, width=20)
    assert len(lines) == 4
    assert "▒" in lines[0] and "█" in lines[1] and "▒" in lines[2]
    assert lines[3].startswith("sum") and lines[3].endswith("+2.00 bits, probability 80.0 %")


@given(_steps)
def test_any_waterfall_can_be_drawn(steps: list[Step]) -> None:
    assert len(bars(steps)) == len(steps) + 1
    drawn = ElementTree.fromstring(svg(steps, "two records"))
    boxes = drawn.findall("{http://www.w3.org/2000/svg}rect")
    assert len(boxes) == len(steps) + 2
    width = float(drawn.attrib["width"])
    for box in boxes:
        assert 0 <= float(box.get("x", "0")) <= width and float(box.attrib["width"]) >= 0


def test_the_drawing_needs_nothing_else_and_escapes_what_it_shows() -> None:
    drawn = svg(STEPS, "<a> & b")
    assert "&lt;different&gt;" in drawn and "<title>&lt;a&gt; &amp; b</title>" in drawn
    for foreign in ("href", "script", "url(", "@import", "style="):
        assert foreign not in drawn
