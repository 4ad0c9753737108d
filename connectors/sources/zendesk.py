"""Zendesk Support: the service desk's tickets, what happened to them, and the people who wrote.

Basic authentication with an agent's e-mail and an API token. Tickets come from the cursor-based incremental export,
which also tells of changes that a ticket's `updated_at` keeps quiet about (`generated_timestamp`) and of deleted
tickets; ticket events from the time-based one, whose pages repeat what happened in the second they begin with. The
exports hand out 1,000 rows a page and allow ten requests a minute; a refusal says how long to wait.

A company's own fields stand in a ticket as id and value; `ticket_fields` says what each id is called.

Source: https://developer.zendesk.com/documentation/ticketing/managing-tickets/using-the-incremental-export-api/
"""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from connectors.declare import (
    AliasPath,
    Ask,
    Basic,
    Bounds,
    Child,
    DigestSignature,
    Field,
    Instant,
    Kind,
    Lookup,
    Notice,
    Phone,
    Record,
    Source,
    Stream,
    Sweep,
    TokenPages,
    UnixInstant,
    Webhook,
)

PAGE_SIZE = 100


class User(Record):
    """Somebody the desk knows: who wrote in, or who answers."""

    id: str = Field(min_length=1)
    name: str | None = None
    email: str | None = None
    phone: Phone | None = None
    role: str = Field(pattern=r"^(end-user|agent|admin)$")
    locale: str | None = None
    time_zone: str | None = Field(default=None, description="As Zendesk names zones, not IANA")
    external_id: str | None = Field(default=None, description="Id of the person in a system of the company")
    organization_id: str | None = None
    is_suspended: bool = Field(default=False, validation_alias="suspended")
    created_at: Instant
    updated_at: Instant

    @model_validator(mode="before")
    @classmethod
    def _blank_is_absent(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {name: value for name, value in data.items() if value != ""}
        return data


class Ticket(Record):
    """One conversation with one person, in its present state."""

    id: str = Field(min_length=1)
    subject: str | None = None
    type: str | None = Field(default=None, description="question, incident, problem or task")
    status: str = Field(pattern=r"^(new|open|pending|hold|solved|closed|deleted)$")
    priority: str | None = Field(default=None, description="low, normal, high or urgent")
    via_channel: str | None = Field(default=None, validation_alias=AliasPath("via", "channel"))
    requester_id: str | None = None
    assignee_id: str | None = None
    tags: list[str] = Field(default_factory=list)
    external_id: str | None = None
    created_at: Instant
    updated_at: Instant
    generated_at: UnixInstant | None = Field(
        default=None,
        validation_alias="generated_timestamp",
        description="Last change of any kind, also the system's own; moves the cursor; told by exports alone",
    )


class CustomValue(Record):
    """One of the company's own fields of a ticket; null and an empty text both mean not filled in."""

    field_id: str = Field(min_length=1, validation_alias="id")
    value: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _as_text(cls, data: Any) -> Any:
        if isinstance(data, dict):
            value = data.get("value")
            if isinstance(value, bool):
                return {**data, "value": "true" if value else "false"}
            if isinstance(value, list):
                return {**data, "value": ";".join(map(str, value)) or None}
            if value == "":
                return {**data, "value": None}
        return data


class TicketField(Record):
    """What a field of the ticket form is."""

    id: str = Field(min_length=1)
    title: str = Field(min_length=1)
    type: str
    is_active: bool = Field(default=True, validation_alias="active")
    updated_at: Instant


class TicketEvent(Record):
    """One update of a ticket by one person or rule."""

    id: str = Field(min_length=1)
    ticket_id: str = Field(min_length=1)
    created_at: Instant
    updater_id: str | None = None
    via: str | None = None


class TicketChange(Record):
    """One thing that an update did: a status set, a comment written."""

    change_id: str = Field(min_length=1, validation_alias="id")
    event_type: str = Field(description="Create, Change, Comment, Notification, ...")
    status: str | None = Field(default=None, description="Status set, where it was")
    previous_value: str | None = None
    is_comment_public: bool | None = Field(default=None, validation_alias="comment_public")

    @model_validator(mode="before")
    @classmethod
    def _previous_as_text(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("previous_value"), list):
            return {**data, "previous_value": ";".join(map(str, data["previous_value"]))}
        return data


def _exported_since(bounds: Bounds) -> Ask:
    start = 0 if bounds.since is None else max(0, int(bounds.since.timestamp()))
    return Ask(params={"start_time": start})


def _by_cursor(bounds: Bounds) -> Ask:
    return Ask(params={"page[size]": PAGE_SIZE})


_CURSOR = TokenPages(read="meta.after_cursor", write="params.page[after]", more="meta.has_more")


def _by_id(kind: str) -> Lookup:
    return Lookup(
        ask=lambda bounds: Ask(params={"ids": ",".join(bounds.keys)}),
        rows=kind,
        size=100,
        path=f"/api/v2/{kind}/show_many.json",
    )


WEBHOOK = Webhook(
    signature=DigestSignature(
        header="x-zendesk-webhook-signature",
        parts=("header:x-zendesk-webhook-signature-timestamp", "body"),
        sent_at="x-zendesk-webhook-signature-timestamp",
        clock="iso",
    ),
    topic="type",
    delivery="id",
    notices=(
        *(
            Notice(topic=f"zen:event-type:{kind}", streams=(stream,), key="detail.id", is_deletion=True)
            for kind, stream in (
                ("ticket.soft_deleted", "tickets"),
                ("ticket.permanently_deleted", "tickets"),
                ("user.deleted", "users"),
            )
        ),
        Notice(topic="zen:event-type:ticket.*", streams=("tickets",), key="detail.id"),
        Notice(topic="zen:event-type:user.*", streams=("users",), key="detail.id"),
    ),
    documentation="https://developer.zendesk.com/documentation/webhooks/verifying/",
)

SOURCE = Source(
    name="zendesk",
    title="Zendesk Support",
    kind=Kind.SERVICE,
    owner="service-team",
    # No base URL: every account has its own host; ORDERHUB_ZENDESK_URL says which.
    auth=Basic(suffix="/token"),
    documentation="https://developer.zendesk.com/api-reference/ticketing/introduction/",
    webhook=WEBHOOK,
    streams=(
        Stream(
            name="ticket_fields",
            record=TicketField,
            key=("id",),
            path="/api/v2/ticket_fields.json",
            ask=_by_cursor,
            rows="ticket_fields",
            pages=_CURSOR,
            sweep=Sweep(ask=_by_cursor(Bounds()), rows="ticket_fields", pages=_CURSOR),
            description="Fields of the ticket form, the company's own among them.",
        ),
        Stream(
            name="users",
            record=User,
            key=("id",),
            path="/api/v2/users.json",
            ask=_by_cursor,
            rows="users",
            pages=_CURSOR,
            lookup=_by_id("users"),
            sweep=Sweep(ask=_by_cursor(Bounds()), rows="users", pages=_CURSOR),
            description="Requesters and agents.",
        ),
        Stream(
            name="tickets",
            record=Ticket,
            key=("id",),
            path="/api/v2/incremental/tickets/cursor.json",
            ask=_exported_since,
            rows="tickets",
            # The cursor stands for the whole query: a start time beside it is refused.
            pages=TokenPages(read="after_cursor", write="params.cursor", done="end_of_stream", alone=True),
            cursor="generated_at",
            lookup=_by_id("tickets"),
            children=(
                Child(
                    name="ticket_custom_values",
                    path="custom_fields",
                    record=CustomValue,
                    parent={"ticket_id": "id"},
                    description="The company's own fields of a ticket.",
                ),
            ),
            description="Tickets, return requests among them.",
        ),
        Stream(
            name="ticket_events",
            kept="What happened stays.",
            record=TicketEvent,
            key=("id",),
            path="/api/v2/incremental/ticket_events.json",
            ask=_exported_since,
            rows="ticket_events",
            pages=TokenPages(read="end_time", write="params.start_time", done="end_of_stream"),
            cursor="created_at",
            children=(
                Child(
                    name="ticket_changes",
                    path="child_events",
                    record=TicketChange,
                    parent={"ticket_id": "ticket_id", "event_id": "id"},
                    description="What each update did.",
                ),
            ),
            description="Updates of tickets.",
        ),
    ),
)
