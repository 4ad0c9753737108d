"""A flow as a statechart of the library that carries it out: which transition an event takes, outer states included.

What the library decides follows from the state, the event and what the guards answer, so it is asked once for each of these
and its decision is kept. Guards are asked anew every time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from statemachine import StateChart
from statemachine.io import StateDefinition, TransitionDict, create_machine_class_from_definition
from statemachine.io.class_factory import TransitionsDict

from oms_core.flows import guard
from oms_core.flows.definition import Flow, State
from oms_core.flows.guard import Guard

# The library gives states and events names among its own; ours are kept apart from those.
_STATE, _EVENT = "state_", "event_"
_BY_ITSELF = "by_itself"


@dataclass
class _Order:
    """What the library keeps of an order: where it is, and what it is asked about."""

    state: Any
    scope: Mapping[str, Any] = field(default_factory=dict)
    is_settling: bool = False
    taken: list[int] = field(default_factory=list)
    asked: list[tuple[int, bool]] = field(default_factory=list)


Reached = tuple[tuple[int, str], ...]
# By flow, state, event and what its guards answered so far: the guard that is asked next, or what was decided.
_DECIDED: dict[tuple[str, str, str, tuple[bool, ...]], int | Reached] = {}


def take(
    flow: Flow, state: str, event: str, scope: Callable[[], Mapping[str, Any]]
) -> tuple[Reached, list[str]]:
    """Tell an order that is in a state an event.

    Args:
        scope: what guards are asked of; called when one is asked.

    Returns:
        The transitions taken, in order, as places in `transitions` and the leaf each led to; and what guards asked and
        nobody knows.

    Raises:
        DocumentError: a guard cannot be compiled; `lint` says so of each.
    """
    answers: tuple[bool, ...] = ()
    unknown: list[str] = []
    while isinstance(known := _DECIDED.get((flow.sha256, state, event, answers)), int):
        asked = _made(flow)[1][known]
        assert asked is not None
        verdict = asked.ask(scope())
        answers += (verdict.holds,)
        if verdict.unknown is not None:
            unknown.append(f"{asked.source}: {verdict.unknown}")
    if known is None:
        _decide(flow, state, event, scope())
        return take(flow, state, event, scope)
    return known, unknown


def _decide(flow: Flow, state: str, event: str, scope: Mapping[str, Any]) -> None:
    """Let the library decide, and keep what it asked and what it took."""
    machine, order = _machine(flow)
    try:
        order.state, order.scope, order.taken, order.asked = state, scope, [], []
        machine.send(_EVENT + event)
        reached = [(index, _leaf(machine)) for index in order.taken]
        if any(item.on is None for item in flow.transitions):
            order.taken, order.is_settling = [], True
            machine.send(_BY_ITSELF)
            order.is_settling = False
            reached += [(index, flow.enters(flow.transitions[index].to or state)) for index in order.taken]
    except BaseException:
        _MINE.machines.clear()  # half way through an event it is of no use to the next order
        raise
    answers = tuple(holds for _, holds in order.asked)
    for place, (index, _) in enumerate(order.asked):
        _DECIDED[flow.sha256, state, event, answers[:place]] = index
    _DECIDED[flow.sha256, state, event, answers] = tuple(reached)


def _leaf(machine: StateChart[Any]) -> str:
    return next(str(item.value) for item in machine.configuration if not item.states)


class _Mine(threading.local):
    """Machines of one thread: putting one into a state costs nothing, making one some milliseconds."""

    def __init__(self) -> None:
        self.machines: dict[str, tuple[StateChart[Any], _Order]] = {}


_MINE = _Mine()


def _machine(flow: Flow) -> tuple[StateChart[Any], _Order]:
    """The thread's machine of a flow, and the order it looks at."""
    kept = _MINE.machines.get(flow.sha256)
    if kept is None:
        order = _Order(flow.enters(flow.initial))
        kept = _MINE.machines[flow.sha256] = (_made(flow)[0](model=order), order)
    return kept


_MADE: dict[str, tuple[type[StateChart[Any]], tuple[Guard | None, ...]]] = {}  # by the hash of the flow


def _made(flow: Flow) -> tuple[type[StateChart[Any]], tuple[Guard | None, ...]]:
    """A flow's kind of machine, and the guards of its transitions."""
    return _MADE.get(flow.sha256) or _MADE.setdefault(flow.sha256, _make(flow))


def _make(flow: Flow) -> tuple[type[StateChart[Any]], tuple[Guard | None, ...]]:
    guards = guard.compiled(flow)
    first = (flow.initial, *flow.above[flow.initial])[-1]
    states = {
        _STATE + name: _state(flow, name, state, guards, is_first=name == first)
        for name, state in flow.states.items()
    }
    made = create_machine_class_from_definition(
        flow.flow,
        states=states,
        catch_errors_as_events=False,
        # Lint has said all this already, with the place and the remedy; an order may leave a state it may stay in.
        validate_disconnected_states=False,
        validate_trap_states=False,
        validate_final_reachability=False,
    )
    return made, guards


def _state(
    flow: Flow, name: str, state: State, guards: tuple[Guard | None, ...], *, is_first: bool
) -> StateDefinition:
    found: StateDefinition = {"name": state.title, "value": name, "initial": is_first}
    if state.states:
        found["states"] = {
            _STATE + inner: _state(flow, inner, held, guards, is_first=place == 0)
            for place, (inner, held) in enumerate(state.states.items())
        }
    on: TransitionsDict = {}
    by_itself: list[TransitionDict] = []
    for index, transition in enumerate(flow.transitions):
        if name in transition.origins:
            told: TransitionDict = {
                "target": None if transition.to is None else _STATE + transition.to,
                "cond": _condition(index, guards[index], is_event=transition.on is not None),
                "on": _note(index),
            }
            if transition.on is None:
                by_itself.append(told)
            else:
                on.setdefault(_EVENT + transition.on, []).append(told)
    if on:
        found["on"] = on
    if by_itself:
        found["transitions"] = by_itself
    return found


def _condition(index: int, asked: Guard | None, *, is_event: bool) -> Callable[[_Order], bool]:
    def condition(model: _Order) -> bool:
        if is_event == model.is_settling:  # first the event, then what follows from it by itself
            return False
        if asked is None:
            return True
        holds = asked.ask(model.scope).holds
        model.asked.append((index, holds))
        return holds

    return condition


def _note(index: int) -> Callable[[_Order], None]:
    def note(model: _Order) -> None:
        model.taken.append(index)

    return note
