"""A flow as a document: states, transitions, guards, timeouts, actions, approvals, notifications; read and checked for form.

What a document means is checked by `lint`; its JSON Schema is `flow.schema.json` beside this module.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oms_core.flows.errors import DocumentError

MOST_BYTES = 262_144
MIGRATED = "flow.migrated"  # the event that takes an order to another version; no document declares it

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
Line = Annotated[str, Field(min_length=1, max_length=300)]
Guard = Annotated[
    str, Field(min_length=1, max_length=500, description="CEL; true or false of `order`, `event`, `seen`.")
]
Role = Literal["oms_service", "data_engineer", "finance", "auditor", "steward"]
Kind = Literal["text", "number", "whole", "flag"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EventKind(_Part):
    """An event the flow knows, and what it may carry."""

    title: Line
    data: dict[Name, Kind] = Field(default_factory=dict, max_length=30)


class Timeout(_Part):
    """An event that happens by itself when an order has been in the state for so long."""

    after: timedelta = Field(gt=timedelta(0), le=timedelta(days=3650), description="ISO 8601, such as PT48H.")
    event: Name


class Approval(_Part):
    """Somebody of the role says yes or no; either is an event that nobody else can tell."""

    role: Role
    approve: Name
    reject: Name


class State(_Part):
    """Where an order can be. One with `states` is never itself where an order is; its transitions leave all of them.

    Attributes:
        done: nothing more has to happen: an order may stay for good. It may still be left, as by a return.
    """

    title: Line
    done: bool = False
    timeout: Timeout | None = None
    approval: Approval | None = None
    states: dict[Name, State] = Field(default_factory=dict, max_length=60)


class Transition(_Part):
    """From states by an event to a state; of several whose guard holds, the first in the document is taken.

    Attributes:
        on: the event; None: as soon as the guard holds.
        to: None: the order stays where it is, and the actions are carried out.
    """

    origins: Annotated[tuple[Name, ...], Field(min_length=1, max_length=60, alias="from")]
    on: Name | None = None
    to: Name | None = None
    when: Guard | None = None
    actions: tuple[Name, ...] = ()
    notify: tuple[Name, ...] = ()


class Notification(_Part):
    """A text for the customer; `${order.order_number}` and the like are filled in, and nothing else is."""

    channel: Literal["email", "sms", "push"]
    subject: Annotated[str, Field(max_length=200)] = ""
    body: Annotated[str, Field(min_length=1, max_length=5000)]


class Flow(_Part):
    """A flow, in one version.

    Attributes:
        version: a content has one version, and a version one content.
        applies_to: guard over `order`; which new orders follow this flow.
        precedence: of several active flows that apply, the one with the lowest is followed.
        initial: where every order begins.
        acts_within: what is older when it becomes known has no actions and notifies nobody.
        events: in the order in which they happen when they carry the same instant.
        actions: what others do when told, by name, and what that means.
    """

    flow: Name
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$")]
    title: Line
    applies_to: Guard
    precedence: Annotated[int, Field(ge=1, le=1000)]
    initial: Name
    acts_within: timedelta = Field(gt=timedelta(0), le=timedelta(days=365))
    events: dict[Name, EventKind] = Field(min_length=1, max_length=100)
    actions: dict[Name, Line] = Field(default_factory=dict, max_length=100)
    notifications: dict[Name, Notification] = Field(default_factory=dict, max_length=100)
    states: dict[Name, State] = Field(min_length=1, max_length=60)
    transitions: tuple[Transition, ...] = Field(max_length=500)

    @cached_property
    def document(self) -> str:
        """The flow as JSON. The order of its states and events means something, so it is kept, and the hash is over it."""
        return self.model_dump_json(by_alias=True, exclude_none=True)

    @cached_property
    def sha256(self) -> str:
        """Hash of the document."""
        return hashlib.sha256(self.document.encode()).hexdigest()

    @cached_property
    def places(self) -> Mapping[str, State]:
        """Every state by name, outer ones before what they hold."""
        return dict(_walk(self.states))

    @cached_property
    def leaves(self) -> Mapping[str, State]:
        """The states an order can be in, by name."""
        return {name: state for name, state in self.places.items() if not state.states}

    @cached_property
    def above(self) -> Mapping[str, tuple[str, ...]]:
        """State -> the states that hold it, innermost first."""
        held = {child: name for name, state in self.places.items() for child in state.states}
        found = {}
        for name in self.places:
            chain, at = [], name
            while at in held:
                at = held[at]
                chain.append(at)
            found[name] = tuple(chain)
        return found

    def enters(self, name: str) -> str:
        """The leaf in which an order is that goes to a state: the state itself, or the first of the first it holds."""
        state = self.places[name]
        return self.enters(next(iter(state.states))) if state.states else name

    @cached_property
    def leaving(self) -> Mapping[str, tuple[int, ...]]:
        """Leaf -> places in `transitions` of what can be taken there: its own before those of the states around it."""
        return {
            leaf: tuple(
                index
                for at in (leaf, *self.above[leaf])
                for index, transition in enumerate(self.transitions)
                if at in transition.origins
            )
            for leaf in self.leaves
        }

    @cached_property
    def deciders(self) -> frozenset[str]:
        """Events that only approvals tell."""
        approvals = [state.approval for state in self.places.values() if state.approval is not None]
        return frozenset(name for item in approvals for name in (item.approve, item.reject))

    @cached_property
    def alarms(self) -> frozenset[str]:
        """Events that only timeouts tell."""
        return frozenset(state.timeout.event for state in self.places.values() if state.timeout is not None)


def load(text: str | bytes) -> Flow:
    """Read a flow from YAML or JSON.

    Raises:
        DocumentError: it is too long, no YAML, says something twice, or is no flow; the message says which field and why.
    """
    if len(text) > MOST_BYTES:
        raise DocumentError("bad-flow", f"flow: the document is longer than {MOST_BYTES:,} bytes: split it")
    try:
        document = yaml.load(text, Loader=_Once)  # noqa: S506  # a SafeLoader that also refuses keys said twice
    except RecursionError as error:
        raise DocumentError("bad-flow", "flow: the document is nested too deeply") from error
    except (yaml.YAMLError, ValueError) as error:
        raise DocumentError("bad-flow", f"flow: no YAML or JSON document: {error}") from error
    try:
        return Flow.model_validate(document)
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc']) or 'document'}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise DocumentError("bad-flow", "flow: " + "; ".join(faults[:10]), {"faults": faults}) from error


def schema() -> dict[str, Any]:
    """The JSON Schema of flow documents."""
    found = Flow.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def _walk(states: Mapping[str, State]) -> Iterator[tuple[str, State]]:
    for name, state in states.items():
        yield name, state
        yield from _walk(state.states)


class _Once(yaml.SafeLoader):
    """YAML with JSON's idea of words, so that `on` and a date stay text; no aliases, and no key said twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  # as the base class has it

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read: write the part out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep)
        if len(found) < len(node.value):
            raise yaml.YAMLError(f"a key is said twice, {node.start_mark}")
        return found


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|false)$", "tf"),
    ("null", r"^(?:null|~|)$", ["n", "~", ""]),
    ("int", r"^-?(?:0|[1-9][0-9]*)$", "-0123456789"),
    ("float", r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$", "-0123456789"),
):
    _Once.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)
