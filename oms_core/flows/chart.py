"""A flow as a statechart of the library that carries it out: which transition an event takes, outer states included."""

from __future__ import annotations

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
    unknown: list[str] = field(default_factory=list)


class Chart:
    """One order going through one version of a flow."""

    def __init__(self, flow: Flow, state: str | None = None) -> None:
        """Begin at a state, or where the flow begins.

        Raises:
            DocumentError: a guard cannot be compiled; `lint` says so of each.
        """
        made = _MADE.get(flow.sha256) or _MADE.setdefault(flow.sha256, _make(flow))
        self._flow = flow
        self._order = _Order(state or flow.enters(flow.initial))
        self._machine = made(model=self._order)
        self._settles = any(item.on is None for item in flow.transitions)

    @property
    def state(self) -> str:
        """The leaf in which the order is."""
        return next(str(item.value) for item in self._machine.configuration if not item.states)

    def tell(self, event: str, scope: Mapping[str, Any]) -> tuple[list[tuple[int, str]], list[str]]:
        """Tell an event.

        Returns:
            The transitions taken, in order, as places in `transitions` and the leaf each led to; and what guards asked
            and nobody knows.
        """
        order = self._order
        order.scope, order.taken, order.unknown = scope, [], []
        self._machine.send(_EVENT + event)
        reached = [(index, self.state) for index in order.taken]
        if self._settles:
            order.taken, order.is_settling = [], True
            try:
                self._machine.send(_BY_ITSELF)
            finally:
                order.is_settling = False
            reached += self._path(order.taken)
        return reached, order.unknown

    def _path(self, taken: list[int]) -> list[tuple[int, str]]:
        found = []
        for index in taken:
            to = self._flow.transitions[index].to
            assert to is not None  # lint refuses what happens by itself and leads nowhere
            found.append((index, self._flow.enters(to)))
        return found


_MADE: dict[str, type[StateChart[Any]]] = {}  # by the hash of the flow


def _make(flow: Flow) -> type[StateChart[Any]]:
    guards = guard.compiled(flow)
    first = (flow.initial, *flow.above[flow.initial])[-1]
    states = {
        _STATE + name: _state(flow, name, state, guards, is_first=name == first)
        for name, state in flow.states.items()
    }
    return create_machine_class_from_definition(
        flow.flow,
        states=states,
        catch_errors_as_events=False,
        # Lint has said all this already, with the place and the remedy; an order may leave a state it may stay in.
        validate_disconnected_states=False,
        validate_trap_states=False,
        validate_final_reachability=False,
    )


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
                "cond": _condition(guards[index], is_event=transition.on is not None),
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


def _condition(asked: Guard | None, *, is_event: bool) -> Callable[[_Order], bool]:
    def condition(model: _Order) -> bool:
        if is_event == model.is_settling:  # first the event, then what follows from it by itself
            return False
        if asked is None:
            return True
        verdict = asked.ask(model.scope)
        if verdict.unknown is not None:
            model.unknown.append(f"{asked.source}: {verdict.unknown}")
        return verdict.holds

    return condition


def _note(index: int) -> Callable[[_Order], None]:
    def note(model: _Order) -> None:
        model.taken.append(index)

    return note
