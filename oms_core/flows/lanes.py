"""A flow as an SVG picture: a lane for each state, a row for each transition with an arrow from where it may begin to where it leads.

Boxes and arrows over a page cross each other as soon as a flow has forty transitions; here nothing crosses but lanes, every guard
can be read, and the picture of a version is always the same.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from oms_core.flows.definition import Flow, Transition
from oms_core.flows.draw import span

_LANE, _TEXT, _LINE, _EDGE = 94, 330, 14, 16  # widths of a lane and of the text, height of a line, margin; px
_WORDS, _SIGNS = 54, 13  # letters in a line of text, and of a lane's head
_INK, _SOFT, _HERE, _DONE, _GROUP = "#1a202c", "#4a5568", "#ffd54d", "#c6f6d5", "#edf2f7"


def svg(flow: Flow, at: str | None = None) -> str:
    """The flow as an SVG document that needs nothing else: no script, no font, no style sheet.

    Args:
        at: state to be highlighted, as where an order is.
    """
    leaves = list(flow.leaves)
    x = {name: _EDGE + _TEXT + _LANE * (place + 0.5) for place, name in enumerate(leaves)}
    depth = max(len(flow.above[name]) for name in leaves)
    heads = {name: _head(flow, name) for name in leaves}
    top = 44 + 20 * depth
    below = top + _LINE * max(map(len, heads.values())) + 14
    rows = [(transition, _said(flow, transition)) for transition in flow.transitions]
    ends: list[int] = []
    for _, lines in rows:
        ends.append((ends[-1] if ends else below + 12) + _LINE * len(lines) + 10)
    width, height = round(_EDGE * 2 + _TEXT + _LANE * len(leaves)), (ends[-1] if ends else below) + _EDGE
    title = _clean(f"{flow.flow} {flow.version}: {flow.title}")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="11">',
        f"<title>{title}</title><desc>A lane for each state, a row for each transition.</desc>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_EDGE}" y="24" font-size="15" font-weight="600" fill="{_INK}">{title}</text>',
        *_groups(flow, leaves, x),
    ]
    for name in leaves:
        fill = _HERE if name == at else _DONE if flow.leaves[name].done else "#ffffff"
        parts.append(
            f'<line x1="{x[name]:g}" y1="{below}" x2="{x[name]:g}" y2="{height - _EDGE}" stroke="#cbd5e0"/>'
            f'<rect x="{x[name] - _LANE / 2 + 3:g}" y="{top}" width="{_LANE - 6}" height="{below - top}" rx="6" fill="{fill}" '
            f'stroke="{_INK}"/>'
        )
        parts += _text(heads[name], x[name], top + 4, ' text-anchor="middle"')
    begins = x[flow.enters(flow.initial)]
    parts.append(f'<circle cx="{begins:g}" cy="{below + 8}" r="4" fill="{_INK}"/>')
    for (transition, lines), end in zip(rows, ends, strict=True):
        parts += _text(lines, _EDGE, end - 10 - _LINE * len(lines), "")
        parts += _arrow(flow, transition, x, end - 10 - _LINE * len(lines) / 2)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _head(flow: Flow, name: str) -> list[str]:
    state = flow.leaves[name]
    told = [name, state.title]
    if state.timeout is not None:
        told.append(f"({span(state.timeout.after.total_seconds())})")
    if state.approval is not None:
        told.append(f"{state.approval.role} decides")
    return [line for words in told for line in textwrap.wrap(words, _SIGNS)]


def _said(flow: Flow, transition: Transition) -> list[str]:
    """What a transition waits for, when it is taken, and what it asks of others; the first line is its name."""
    said = [transition.on or "at once"]
    if transition.on in flow.alarms:
        said[0] += ", when time is up"
    if transition.when is not None:
        said += textwrap.wrap(f"if {transition.when}", _WORDS)
    if transition.actions or transition.notify:
        said += textwrap.wrap("do " + ", ".join([*transition.actions, *transition.notify]), _WORDS)
    return said


def _groups(flow: Flow, leaves: Sequence[str], x: dict[str, float]) -> Iterator[str]:
    """A bar over the lanes of each state that holds others."""
    for name, state in flow.places.items():
        held = [x[leaf] for leaf in leaves if name in flow.above[leaf]]
        if held:
            left, right, y = (
                min(held) - _LANE / 2 + 3,
                max(held) + _LANE / 2 - 3,
                40 + 20 * len(flow.above[name]),
            )
            yield (
                f'<rect x="{left:g}" y="{y}" width="{right - left:g}" height="18" rx="4" fill="{_GROUP}"/>'
                f'<text x="{(left + right) / 2:g}" y="{y + 13}" text-anchor="middle" fill="{_INK}">'
                f"{_clean(f'{name}: {state.title}')}</text>"
            )


def _text(lines: Sequence[str], x: float, top: float, more: str) -> Iterator[str]:
    for place, line in enumerate(lines):
        look = f'font-weight="600" fill="{_INK}"' if place == 0 else f'fill="{_SOFT}"'
        yield f'<text x="{x:g}" y="{top + _LINE * (place + 1) - 3:g}" {look}{more}>{_clean(line)}</text>'


def _arrow(flow: Flow, transition: Transition, x: dict[str, float], y: float) -> Iterator[str]:
    """From every lane it may begin in to the one it leads to; one that leads nowhere else is a ring."""
    origins = [leaf for leaf in x if set(transition.origins) & {leaf, *flow.above[leaf]}]
    if transition.to is None:
        yield from (
            f'<circle cx="{x[leaf]:g}" cy="{y:g}" r="5" fill="none" stroke="{_INK}" stroke-width="1.5"/>'
            for leaf in origins
        )
        return
    target = x[flow.enters(transition.to)]
    yield from (f'<circle cx="{x[leaf]:g}" cy="{y:g}" r="3.5" fill="{_INK}"/>' for leaf in origins)
    for side in (1, -1):  # what comes from the left, and from the right
        begins = [x[leaf] for leaf in origins if (target - x[leaf]) * side > 0]
        if begins:
            far, tip = min(begins) if side == 1 else max(begins), target - 3 * side
            yield (
                f'<path d="M{far:g} {y:g}H{tip:g}m{-7 * side} -4l{7 * side} 4l{-7 * side} 4" fill="none" stroke="{_INK}" '
                f'stroke-width="1.5"/>'
            )


def _clean(words: str) -> str:
    """Words without the signs that XML cannot hold."""
    return escape("".join(sign if sign.isprintable() else " " for sign in words))
