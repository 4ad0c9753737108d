"""A flow as a Mermaid state diagram: text that wikis and code hosts draw.

Source: https://mermaid.js.org/syntax/stateDiagram.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from oms_core.flows.definition import Flow, State, Transition


def mermaid(flow: Flow, at: str | None = None) -> str:
    """Draw a flow, outer states around what they hold; `at` is highlighted, as where an order is."""
    lines = ["stateDiagram-v2", f"    [*] --> {_id(flow.initial)}", *_states(flow.states, "    ")]
    for transition in flow.transitions:
        for origin in transition.origins:
            target = transition.to or origin
            lines.append(f"    {_id(origin)} --> {_id(target)}: {_label(transition)}")
    lines += [f"    {_id(name)} --> [*]" for name, state in flow.leaves.items() if state.done]
    if at is not None:
        lines += ["    classDef here fill:#ffd54d,stroke:#333", f"    class {_id(at)} here"]
    return "\n".join(lines) + "\n"


def _states(states: Mapping[str, State], indent: str) -> Iterator[str]:
    for name, state in states.items():
        if state.states:
            yield f'{indent}state "{_text(state.title)}" as {_id(name)} {{'
            yield f"{indent}    [*] --> {_id(next(iter(state.states)))}"
            yield from _states(state.states, indent + "    ")
            yield f"{indent}}}"
        else:
            told = [state.title]
            if state.timeout is not None:
                told.append(f"{state.timeout.event} after {span(state.timeout.after.total_seconds())}")
            if state.approval is not None:
                told.append(f"{state.approval.role} decides")
            yield f'{indent}state "{_text(", ".join(told))}" as {_id(name)}'


def _label(transition: Transition) -> str:
    words = [transition.on or "at once"]
    if transition.when is not None:
        words.append(f"[{transition.when}]")
    if transition.actions or transition.notify:
        words.append("/ " + ", ".join([*transition.actions, *transition.notify]))
    return _text(" ".join(words))


def _id(name: str) -> str:
    return f"s_{name}"  # a state may be called like a word of the language


def span(seconds: float) -> str:
    """A time in the largest unit that says it whole, such as 3 d."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def _text(words: str) -> str:
    """With entities for the signs that are the language's own."""
    return "".join(f"#{ord(sign)};" if sign in '#";:<>{}' else sign for sign in words)
