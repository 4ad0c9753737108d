"""What is wrong with the sense of a flow: each finding names its place and its remedy."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from oms_core.flows import guard, template
from oms_core.flows.definition import Flow, Kind, Transition
from oms_core.flows.errors import DocumentError
from oms_core.flows.guard import Guard

_MOST_WITNESSES = 4096


@dataclass(frozen=True)
class Finding:
    """One fault of a flow. An error keeps it from being activated, a warning does not."""

    code: str
    place: str
    message: str
    remedy: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        """All of it in one line."""
        return f"{self.place}: {self.message} ({self.code}). {self.remedy}"


def lint(flow: Flow) -> list[Finding]:
    """Everything that is wrong with a flow, errors first; empty where nothing is."""
    named = list(_names(flow))
    found = named + list(_texts(flow)) + list(_guards(flow))
    if not named:  # else there is no graph to walk
        found += [*_graph(flow), *_timeouts(flow), *_ambiguous(flow), *_loops(flow)]
    return sorted(found, key=lambda finding: finding.severity)


def check(flow: Flow) -> list[Finding]:
    """Lint a flow that is to be used.

    Returns:
        The warnings.

    Raises:
        DocumentError: there are errors; it names each.
    """
    found = lint(flow)
    errors = [finding for finding in found if finding.severity == "error"]
    if errors:
        told = [vars(finding) for finding in errors]
        raise DocumentError(
            errors[0].code if len({item.code for item in errors}) == 1 else "bad-flow",
            f"flow {flow.flow} {flow.version}: "
            + " ".join(f"[{n}] {each}" for n, each in enumerate(errors, 1)),
            {"findings": told},
        )
    return found


def _names(flow: Flow) -> Iterator[Finding]:
    """Names that lead nowhere, and one name for two states."""
    names = [name for name, _ in _walk(flow)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Finding("state-twice", f"states.{name}", "two states have this name", "Rename one of them.")
    if flow.initial not in flow.places:
        yield _no_state("initial", flow.initial, flow)
    for index, transition in enumerate(flow.transitions):
        place = _at(index, transition)
        for name in (*transition.origins, *([] if transition.to is None else [transition.to])):
            if name not in flow.places:
                yield _no_state(place, name, flow)
        if transition.on is not None and transition.on not in flow.events:
            yield _no_event(place, transition.on, flow)
        if transition.on is None and transition.to is None:
            yield Finding(
                "nothing-happens", place, "it waits for no event and leads nowhere", "Give it `on` or `to`."
            )
        for kind, asked, known in (
            ("action", transition.actions, flow.actions),
            ("notification", transition.notify, flow.notifications),
        ):
            for name in asked:
                if name not in known:
                    yield Finding(
                        f"unknown-{kind}", place, f"nobody declares the {kind} {name!r}",
                        f"Declare it under `{kind}s`, or take it out.",
                    )  # fmt: skip
    for name, state in flow.places.items():
        place = f"states.{name}"
        if state.states and (state.timeout or state.approval or state.done):
            yield Finding(
                "outer-state", place, "an order is never in it itself, only in the states it holds",
                "Move `timeout`, `approval` and `done` to those.",
            )  # fmt: skip
        told = [state.timeout.event] if state.timeout else []
        told += [state.approval.approve, state.approval.reject] if state.approval else []
        for event in told:
            if event not in flow.events:
                yield _no_event(place, event, flow)
    both = sorted(flow.deciders & flow.alarms)
    for event in both:
        yield Finding(
            "event-of-two", f"events.{event}", "an approval and a timeout both tell it", "Use two events."
        )
    used = {item.on for item in flow.transitions} | flow.deciders | flow.alarms
    for event in flow.events:
        if event not in used:
            yield Finding(
                "unused-event", f"events.{event}", "no transition waits for it",
                "Leave it where it shall be accepted and change nothing; else take it out.", "warning",
            )  # fmt: skip


def _walk(flow: Flow) -> Iterator[tuple[str, Any]]:
    stack = [flow.states]
    while stack:
        states = stack.pop()
        yield from states.items()
        stack += [state.states for state in states.values() if state.states]


def _texts(flow: Flow) -> Iterator[Finding]:
    """Templates that ask for what nobody knows."""
    used: dict[str, list[Transition]] = {}
    for transition in flow.transitions:
        for name in transition.notify:
            used.setdefault(name, []).append(transition)
    for name, notification in flow.notifications.items():
        if name not in used:
            yield Finding(
                "unused-notification",
                f"notifications.{name}",
                "no transition sends it",
                "Take it out.",
                "warning",
            )
        for transition in used.get(name, [Transition.model_validate({"from": ["any"]})]):
            event = flow.events.get(transition.on) if transition.on else None
            for text in (notification.subject, notification.body):
                for fault in template.faults(text, event):
                    yield Finding(
                        "bad-template", f"notifications.{name}", f"{fault} on {transition.on or 'no event'}",
                        "Ask for one of " + ", ".join(sorted(template.fields(event))) + ".",
                    )  # fmt: skip


def _guards(flow: Flow) -> Iterator[Finding]:
    """Guards that are no CEL, ask what nobody knows, or compare what cannot be compared."""
    asked = [("applies_to", flow.applies_to, None)] + [
        (f"{_at(index, item)}.when", item.when, flow.events.get(item.on) if item.on else None)
        for index, item in enumerate(flow.transitions)
        if item.when is not None
    ]
    for place, source, event in asked:
        try:
            Guard(source, event)
        except DocumentError as error:
            names = ", ".join(sorted(guard.variables(event)))
            yield Finding("bad-guard", place, f"{source!r}: {error}", f"It may ask for {names}.")


def _graph(flow: Flow) -> Iterator[Finding]:
    """States nobody reaches, and states in which an order stays though something has still to happen."""
    ways = {leaf: _next(flow, leaf) for leaf in flow.leaves}
    reached = _closure({flow.enters(flow.initial)}, ways)
    for leaf in flow.leaves:
        if leaf not in reached:
            yield Finding(
                "unreachable-state", f"states.{leaf}", f"no way leads from {flow.initial} to it",
                "Add a transition to it, or take it out.",
            )  # fmt: skip
    back: dict[str, set[str]] = {leaf: set() for leaf in flow.leaves}
    for leaf, targets in ways.items():
        for target in targets:
            back[target].add(leaf)
    ending = _closure({leaf for leaf, state in flow.leaves.items() if state.done}, back)
    if not ending:
        yield Finding(
            "no-end",
            "states",
            "in no state is an order done",
            "Mark those in which it may stay with `done: true`.",
        )
        return
    for leaf, state in flow.leaves.items():
        if leaf in reached and leaf not in ending:
            if ways[leaf] - {leaf}:
                yield Finding(
                    "trap-state", f"states.{leaf}",
                    "an order that comes here goes round and is never done: from here "
                    f"{', '.join(sorted(_closure({leaf}, ways) - {leaf}))} can be reached, and nothing else",
                    "Add a way to a state with `done: true`, or mark one of these.",
                )  # fmt: skip
            elif not state.done:
                yield Finding(
                    "dead-end-state", f"states.{leaf}", "no transition leaves it, and it is not done",
                    "Add one, or mark it with `done: true`.",
                )  # fmt: skip


def _timeouts(flow: Flow) -> Iterator[Finding]:
    """Timeouts and approvals whose event leads nowhere."""
    for leaf, state in flow.leaves.items():
        told = [("timeout", "timeout-without-exit", state.timeout.event)] if state.timeout else []
        if state.approval:
            told += [
                ("approval", "approval-without-exit", name)
                for name in (state.approval.approve, state.approval.reject)
            ]
        for what, code, event in told:
            exits = [
                item
                for item in (flow.transitions[index] for index in flow.leaving[leaf])
                if item.on == event and item.to is not None and flow.enters(item.to) != leaf
            ]
            if not exits:
                yield Finding(
                    code, f"states.{leaf}.{what}", f"{event} leads out of this state by no transition",
                    f"Add a transition from {leaf} on {event}.",
                )  # fmt: skip
            elif all(item.when is not None for item in exits):
                yield Finding(
                    code, f"states.{leaf}.{what}", f"{event} leads out of this state only where a guard holds",
                    "Add a last transition without a guard.", "warning",
                )  # fmt: skip


def _ambiguous(flow: Flow) -> Iterator[Finding]:
    """Pairs of transitions that one event takes both; inner states outrank outer ones, so only one level is compared."""
    pairs: dict[tuple[int, int], str] = {}
    for name in flow.places:
        own = [index for index, item in enumerate(flow.transitions) if name in item.origins]
        for left, right in itertools.combinations(own, 2):
            if flow.transitions[left].on == flow.transitions[right].on:
                pairs.setdefault((left, right), name)
    for (left, right), name in pairs.items():
        first, second = flow.transitions[left], flow.transitions[right]
        place = f"{_at(left, first)} and {_at(right, second)}"
        if first.when is None:
            yield Finding(
                "ambiguous-transition", place, f"in {name} both wait for the same, and the first always goes",
                "Give the first a guard, or take the second out.",
            )  # fmt: skip
        elif second.when is not None:
            witness = _both(flow, first, second)
            if witness is not None:
                told = ", ".join(f"{key} = {value!r}" for key, value in sorted(witness.items()))
                yield Finding(
                    "ambiguous-transition", place, f"in {name} both guards hold for {told or 'anything'}",
                    "Make one guard the opposite of the other, or leave the guard of the last one out: it is the rest.",
                )  # fmt: skip


def _both(flow: Flow, left: Transition, right: Transition) -> dict[str, Any] | None:
    """Values for which two guards both hold, tried at the borders that the guards themselves name; None: none found."""
    event = flow.events[left.on] if left.on else None
    try:
        guards = [Guard(item.when or "true", event) for item in (left, right)]
    except DocumentError:
        return None  # said by another finding
    sources = f"{left.when} {right.when}"
    asked = {
        name: kind
        for name, kind in guard.variables(event).items()
        if re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", sources)
    }
    choices = [_choices(kind, sources) for kind in asked.values()]
    for values in itertools.islice(itertools.product(*choices), _MOST_WITNESSES):
        told = dict(zip(asked, values, strict=True))
        if all(item.ask(told).holds for item in guards):
            return told
    return None


def _choices(kind: Kind | None, sources: str) -> Sequence[Any]:
    words = list(dict.fromkeys(re.findall(r"""["']([^"']*)["']""", sources)))
    if kind == "flag":
        return [True, False]
    if kind == "text":
        return [*words, "another"]
    if kind is None:
        return [list(some) for size in (0, 1, 2) for some in itertools.combinations(words, size)] + [words]
    numbers = [float(found) for found in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?", sources)] or [0.0]
    around = [number + step for number in numbers for step in (0, -1, 1)]
    return [int(number) for number in around] if kind == "whole" else around


def _loops(flow: Flow) -> Iterator[Finding]:
    """Transitions that happen by themselves and could go round for ever."""
    ways: dict[str, set[str]] = {
        leaf: {
            flow.enters(item.to)
            for item in (flow.transitions[index] for index in flow.leaving[leaf])
            if item.on is None and item.to is not None
        }
        for leaf in flow.leaves
    }
    for leaf in flow.leaves:
        if leaf in _closure(ways[leaf], ways):
            yield Finding(
                "endless-loop", f"states.{leaf}", "transitions without an event lead from it back to it",
                "Let one of them wait for an event.",
            )  # fmt: skip


def _next(flow: Flow, leaf: str) -> set[str]:
    to = (flow.transitions[index].to for index in flow.leaving[leaf])
    return {flow.enters(name) for name in to if name is not None}


def _closure(start: Collection[str], ways: Mapping[str, Collection[str]]) -> set[str]:
    found, open_ = set(start), list(start)
    while open_:
        for name in ways[open_.pop()]:
            if name not in found:
                found.add(name)
                open_.append(name)
    return found


def _at(index: int, transition: Transition) -> str:
    return f"transitions[{index}] ({', '.join(transition.origins)} → {transition.to or 'stays'} on {transition.on or 'nothing'})"


def _no_state(place: str, name: str, flow: Flow) -> Finding:
    known = ", ".join(flow.places)
    return Finding("unknown-state", place, f"there is no state {name!r}", f"There are {known}.")


def _no_event(place: str, name: str, flow: Flow) -> Finding:
    known = ", ".join(flow.events)
    return Finding("unknown-event", place, f"nobody declares the event {name!r}", f"There are {known}.")
