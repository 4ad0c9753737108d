"""HubSpot: the CRM's contacts and companies, by the CRM v3 search endpoints.

Search sorts by one property and returns at most 200 objects a page and 10,000 a query; a longer answer is read on
from the last modification time seen. Unset properties arrive as null, as an empty text, or not at all.

`loyalty_tier`, `customer_segment`, `preference_tags` and `tax_number` are properties the company has defined itself;
the rest is HubSpot's own. An archived object does not appear in search; a contact merged into another vanishes, and
its id is listed in the other one's `hs_merged_object_ids`.

Source: https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/search/post-crm-v3-objects-contacts-search
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from connectors.declare import (
    AliasPath,
    Ask,
    Bearer,
    Bounds,
    Count,
    Country,
    DigestSignature,
    Field,
    Instant,
    Kind,
    Lookup,
    Notice,
    Phone,
    RateLimit,
    Record,
    Source,
    Stream,
    Sweep,
    TokenPages,
    Webhook,
)

PAGE_SIZE = 200
SEARCH_CEILING = 10_000


def _split(value: Any) -> Any:
    """Turn `a;b`, as HubSpot writes every list, into its parts; sorted, since HubSpot's order means nothing."""
    if isinstance(value, str):
        return sorted({part.strip() for part in value.split(";")} - {""})
    return value


SemicolonList = Annotated[list[str], BeforeValidator(_split)]


def _property(name: str) -> AliasPath:
    return AliasPath("properties", name)


class CrmObject(Record):
    """What every CRM object has."""

    id: str = Field(min_length=1, description="HubSpot's object id; unique per object type")
    archived: bool = Field(default=False, description="In the recycling bin")
    merged_object_ids: SemicolonList | None = Field(
        default=None,
        validation_alias=_property("hs_merged_object_ids"),
        description="Ids merged into this object",
    )
    created_at: Instant = Field(
        validation_alias="createdAt", description="When the object was made in HubSpot"
    )

    @model_validator(mode="before")
    @classmethod
    def _unset_is_absent(cls, data: Any) -> Any:
        # A cleared property is an empty text, one never set is null or missing: all three mean unknown.
        if isinstance(data, dict) and isinstance(data.get("properties"), dict):
            kept = {name: value for name, value in data["properties"].items() if value not in (None, "")}
            return {**data, "properties": kept}
        return data


class Contact(CrmObject):
    """One person the company knows, as sales and marketing see them."""

    email: str | None = Field(default=None, validation_alias=_property("email"))
    first_name: str | None = Field(default=None, validation_alias=_property("firstname"))
    last_name: str | None = Field(default=None, validation_alias=_property("lastname"))
    company: str | None = Field(
        default=None, validation_alias=_property("company"), description="As the person wrote it"
    )
    phone: Phone | None = Field(default=None, validation_alias=_property("phone"))
    address: str | None = Field(
        default=None, validation_alias=_property("address"), description="Street and number"
    )
    city: str | None = Field(default=None, validation_alias=_property("city"))
    state: str | None = Field(default=None, validation_alias=_property("state"))
    zip: str | None = Field(default=None, validation_alias=_property("zip"))
    country: Country | None = Field(
        default=None, validation_alias=_property("country"), description="Free text"
    )
    language: str | None = Field(default=None, validation_alias=_property("hs_language"))
    company_id: str | None = Field(
        default=None,
        validation_alias=_property("associatedcompanyid"),
        description="Id of the primary company",
    )
    tax_number: str | None = Field(default=None, validation_alias=_property("tax_number"))
    loyalty_tier: str | None = Field(default=None, validation_alias=_property("loyalty_tier"))
    customer_segment: str | None = Field(default=None, validation_alias=_property("customer_segment"))
    preference_tags: SemicolonList | None = Field(default=None, validation_alias=_property("preference_tags"))
    legal_basis: SemicolonList | None = Field(
        default=None,
        validation_alias=_property("hs_legal_basis"),
        description="Legal grounds for processing, GDPR",
    )
    is_email_optout: bool | None = Field(
        default=None,
        validation_alias=_property("hs_email_optout"),
        description="Unsubscribed from all e-mail",
    )
    modified_at: Instant = Field(
        validation_alias=_property("lastmodifieddate"), description="Last change of any property"
    )


class Company(CrmObject):
    """One company the company sells to."""

    name: str | None = Field(default=None, validation_alias=_property("name"))
    domain: str | None = Field(default=None, validation_alias=_property("domain"))
    phone: Phone | None = Field(default=None, validation_alias=_property("phone"))
    address: str | None = Field(
        default=None, validation_alias=_property("address"), description="Street and number"
    )
    city: str | None = Field(default=None, validation_alias=_property("city"))
    state: str | None = Field(default=None, validation_alias=_property("state"))
    zip: str | None = Field(default=None, validation_alias=_property("zip"))
    country: Country | None = Field(
        default=None, validation_alias=_property("country"), description="Free text"
    )
    tax_number: str | None = Field(default=None, validation_alias=_property("tax_number"))
    customer_segment: str | None = Field(default=None, validation_alias=_property("customer_segment"))
    modified_at: Instant = Field(
        validation_alias=_property("hs_lastmodifieddate"), description="Last change of any property"
    )


def _properties(record: type[Record]) -> list[str]:
    """Names of the HubSpot properties a record reads; search returns only those it is asked for."""
    paths = [field.validation_alias for field in record.model_fields.values()]
    return [str(alias.path[1]) for alias in paths if isinstance(alias, AliasPath)]


def _search(record: type[Record], modified: str) -> Callable[[Bounds], Ask]:
    def ask(bounds: Bounds) -> Ask:
        filters = []
        for operator, instant in (("GTE", bounds.since), ("LT", bounds.until)):
            if instant is not None:
                milliseconds = str(int(instant.timestamp() * 1000))
                filters.append({"propertyName": modified, "operator": operator, "value": milliseconds})
        return Ask(
            json_body={
                "filterGroups": [{"filters": filters}] if filters else [],
                "sorts": [modified],
                "properties": _properties(record),
                "limit": PAGE_SIZE,
                "after": "0",
            }
        )

    return ask


def _count(record: type[Record]) -> Count:
    return Count(
        ask=_search(record, "")(Bounds()).put("json.sorts", []).put("json.limit", 1), read=("total",)
    )


def _by_id(record: type[Record], kind: str) -> Lookup:
    """Objects by their ids; what is archived is not in the answer."""
    properties = _properties(record)

    def ask(bounds: Bounds) -> Ask:
        wanted = [{"id": key} for key in bounds.keys]
        return Ask(json_body={"properties": properties, "propertiesWithHistory": [], "inputs": wanted})

    return Lookup(ask=ask, rows="results", size=100, path=f"/crm/v3/objects/{kind}/batch/read")


def _sweep(kind: str) -> Sweep:
    return Sweep(
        ask=Ask(params={"limit": 100, "properties": "hs_object_id"}),
        rows="results",
        pages=TokenPages(read="paging.next.after", write="params.after"),
        path=f"/crm/v3/objects/{kind}",
        method="GET",
    )


# What HubSpot calls its own kinds of objects in generic subscriptions.
# Source: https://developers.hubspot.com/changelog/public-beta-generic-webhook-subscriptions
_OBJECT_TYPES = {"contact": "0-1", "company": "0-2"}


def _told(kind: str, stream: str) -> tuple[Notice, ...]:
    """What is told of one kind of object: by topics of its own, and by those that all kinds share."""
    own: dict[str, Any] = {"streams": (stream,)}
    generic: dict[str, Any] = {**own, "when": "objectTypeId", "equals": _OBJECT_TYPES[kind]}
    return (
        # Names two records, neither as `objectId`; the other one's end tells of itself.
        Notice(topic=f"{kind}.associationChange", key="fromObjectId", **own),
        Notice(
            topic="object.associationChange",
            key="fromObjectId",
            **{**generic, "when": "fromObjectTypeId"},
        ),
        *(
            notice
            for topic, told in ((kind, own), ("object", generic))
            for notice in (
                # Records that were merged live on in a new one, which is at times the primary one.
                Notice(
                    topic=f"{topic}.merge",
                    key="mergedObjectIds",
                    merged_into="newObjectId",
                    primary="primaryObjectId",
                    **told,
                ),
                Notice(topic=f"{topic}.deletion", key="objectId", is_deletion=True, **told),
                Notice(topic=f"{topic}.privacyDeletion", key="objectId", is_deletion=True, **told),
                Notice(topic=f"{topic}.*", key="objectId", **told),
            )
            # Erasures are told by kind alone, and of contacts alone.
            if notice.topic not in ("object.privacyDeletion", "company.privacyDeletion")
        ),
    )


WEBHOOK = Webhook(
    signature=DigestSignature(
        header="x-hubspot-signature-v3",
        parts=("method", "address:decoded", "body", "header:x-hubspot-request-timestamp"),
        sent_at="x-hubspot-request-timestamp",
    ),
    topic="subscriptionType",
    notices=(*_told("contact", "contacts"), *_told("company", "companies")),
    documentation="https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation",
)

_PAGES = TokenPages(read="paging.next.after", write="json.after", ceiling=SEARCH_CEILING)

SOURCE = Source(
    name="hubspot",
    title="HubSpot",
    kind=Kind.CRM,
    owner="customer-team",
    base_url="https://api.hubapi.com",
    auth=Bearer(),
    # The search endpoints allow five requests a second per account; the interval headers of other endpoints do not
    # appear on them.
    limit=RateLimit(requests=5, seconds=1.0),
    documentation="https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/guide",
    webhook=WEBHOOK,
    streams=(
        Stream(
            name="contacts",
            record=Contact,
            key=("id",),
            path="/crm/v3/objects/contacts/search",
            method="POST",
            ask=_search(Contact, "lastmodifieddate"),
            rows="results",
            pages=_PAGES,
            cursor="modified_at",
            count=_count(Contact),
            lookup=_by_id(Contact, "contacts"),
            sweep=_sweep("contacts"),
            description="People, with consent, loyalty and preferences.",
        ),
        Stream(
            name="companies",
            record=Company,
            key=("id",),
            path="/crm/v3/objects/companies/search",
            method="POST",
            ask=_search(Company, "hs_lastmodifieddate"),
            rows="results",
            pages=_PAGES,
            cursor="modified_at",
            count=_count(Company),
            lookup=_by_id(Company, "companies"),
            sweep=_sweep("companies"),
            description="Business customers.",
        ),
    ),
)
