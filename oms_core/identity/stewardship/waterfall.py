"""How evidence adds up to a probability, drawn: bars for a terminal, a self-contained SVG for everything else.

Each field adds or takes weight in bits (log2 odds): +1 doubles the odds that two records are one, -1 halves them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_FOR, _AGAINST, _SUM = "#2b7a4b", "#b23b3b", "#4a5568"
_ROW, _LABEL, _PLOT, _NOTE = 26, 190, 420, 400


@dataclass(frozen=True)
class Step:
    """One step of the waterfall: a field, what was found, and its weight in bits."""

    label: str
    weight: float
    note: str = ""


def total(steps: Sequence[Step]) -> float:
    """Sum of the weights, bits."""
    return math.fsum(step.weight for step in steps)


def probability(bits: float) -> float:
    """Probability at log2 odds of `bits`."""
    # 2**1024 is past the largest float; the answer is 0 or 1 long before.
    return 1 / (1 + 2 ** -max(-1000.0, min(1000.0, bits)))


def percent(share: float) -> str:
    """A probability for people: never 0 % or 100 % unless it is."""
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    if share > 0.5:
        rest = (1 - share) * 100
        return f"{100 - rest:.{_digits(rest)}f} %" if rest >= 1e-9 else "> 99.999999999 %"
    return f"{share * 100:.{_digits(share * 100)}f} %"


def _digits(rest: float) -> int:
    return 1 if rest >= 1 else min(12, 1 - math.floor(math.log10(rest) + 1e-9))


def bars(steps: Sequence[Step], width: int = 40) -> list[str]:
    """Lines of text, one per step and one for the sum; the bar shows how far the step takes the odds.

    Args:
        steps: in order; the prior comes first.
        width: columns of the bar.
    """
    spans, low, high = _spans(steps)
    scale = (width - 1) / (high - low)
    zero = round((0 - low) * scale)
    label = max((len(step.label) for step in steps), default=0)
    lines = []
    for step, (start, end) in zip(steps, spans, strict=True):
        left, right = sorted((round((start - low) * scale), round((end - low) * scale)))
        cells = [" "] * width
        cells[zero] = "│"
        for place in range(left, max(right, left + 1)):
            cells[min(place, width - 1)] = "█" if step.weight >= 0 else "▒"
        lines.append(f"{step.label:<{label}} {step.weight:+7.2f} {''.join(cells)} {step.note}".rstrip())
    bits = total(steps)
    lines.append(f"{'sum':<{label}} {bits:+7.2f} bits, probability {percent(probability(bits))}")
    return lines


def svg(steps: Sequence[Step], title: str) -> str:
    """The same as an SVG document that needs nothing else: no script, no font, no style sheet.

    Args:
        steps: in order; the prior comes first.
        title: shown above, and told to screen readers.
    """
    spans, low, high = _spans(steps)
    scale = _PLOT / (high - low)
    height = 64 + _ROW * (len(steps) + 1)
    width = _LABEL + _PLOT + _NOTE
    bits = total(steps)
    verdict = f"{bits:+.2f} bits, probability {percent(probability(bits))}"
    title = _cut(title, 120)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(title)}</title><desc>{escape(verdict)}</desc>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="24" font-size="15" font-weight="600" fill="#1a202c">{escape(title)}</text>',
    ]

    def x(value: float) -> float:
        return _LABEL + (value - low) * scale

    bottom = 44 + _ROW * (len(steps) + 1)
    parts.append(f'<line x1="{x(0):.1f}" y1="40" x2="{x(0):.1f}" y2="{bottom}" stroke="#a0aec0"/>')
    rows = [*zip(steps, spans, strict=True), (Step("sum", bits, verdict), (0.0, bits))]
    for number, (step, (start, end)) in enumerate(rows):
        top = 44 + _ROW * number
        middle = top + _ROW / 2
        is_sum = number == len(steps)
        colour = _SUM if is_sum else _FOR if step.weight >= 0 else _AGAINST
        left, wide = x(min(start, end)), max(abs(end - start) * scale, 1.0)
        parts.append(
            f'<text x="{_LABEL - 10}" y="{middle + 4:.1f}" text-anchor="end" fill="#1a202c">{escape(_cut(step.label, 26))}</text>'
            f'<rect x="{left:.1f}" y="{top + 4}" width="{wide:.1f}" height="{_ROW - 8}" fill="{colour}" rx="2"/>'
            f'<text x="{_LABEL + _PLOT + 10}" y="{middle + 4:.1f}" fill="#2d3748">'
            f"{escape(_cut(step.note if is_sum else f'{step.weight:+.2f}  {step.note}', 48))}</text>"
        )
        if not is_sum:
            parts.append(
                f'<line x1="{x(end):.1f}" y1="{top + _ROW - 4}" x2="{x(end):.1f}" y2="{top + _ROW + 4}" stroke="#4a5568"/>'
            )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _spans(steps: Sequence[Step]) -> tuple[list[tuple[float, float]], float, float]:
    """Where each step starts and ends on the axis, and the ends of the axis."""
    spans = []
    at = 0.0
    for step in steps:
        spans.append((at, at + step.weight))
        at += step.weight
    places = [0.0, at, *(place for span in spans for place in span)]
    low, high = min(places), max(places)
    return spans, low, high if high - low > 1e-9 else low + 1.0


def _cut(words: str, most: int) -> str:
    """Words that fit, without the signs that XML cannot hold."""
    words = "".join(sign if sign.isprintable() else " " for sign in words)
    return words if len(words) <= most else words[: most - 1] + "…"
