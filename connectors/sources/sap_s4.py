"""SAP S/4HANA: the group's books. Sales orders, billing documents, business partners, products, plants, condition contracts.

ORDERHUB_SAP_S4_URL is the API host (https://my000000-api.s4hana.cloud.sap). OAuth 2 client credentials; the token endpoint is
the host's own unless ORDERHUB_SAP_S4_TOKEN_URL names another. OData V4 pages by `@odata.nextLink` with `$skiptoken`, as
large as `Prefer: odata.maxpagesize` asks; decimals come as texts (IEEE754Compatible), or as numbers where the parameter is not
honoured. Changes are found by `LastChangeDateTime`, a UTC time stamp; a new document has one too.

Business partners are read from the released V2 service, the only one there is: it wraps rows in `d.results`, writes times
as `/Date(ms)/`, knows the day of a change and not the hour, and leaves the day empty until the first change.

Numbers are shown with their leading zeros in some fields and without in others (ALPHA conversion): a number that is all
digits is kept without them. What a document type or a unit is called depends on the language; codes and ISO units do not.
Where a service keeps track of changes (`odata.track-changes`), the last page carries a delta link: the next pull follows it
and hears of deletions, too. Where it does not, or the link has run out, the stream is read by change time, or whole.

Source: https://api.sap.com (CE_SALESORDER_0001, CE_BILLINGDOCUMENT_0001, CE_PRODUCT_0002, API_PLANT_2, API_BUSINESS_PARTNER),
OData 4.01 Protocol, 8.2.8 and 11.2.6.7
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, model_validator

from connectors.declare import (
    AliasPath,
    Ask,
    Bounds,
    Child,
    ClientCredentials,
    ConnectorError,
    ControlTotal,
    Count,
    Country,
    Currency,
    Delta,
    FatalError,
    Field,
    FloatAmount,
    FloatQuantity,
    Gtin,
    Instant,
    Kind,
    NextLink,
    Phone,
    RateLimit,
    Ratio,
    Record,
    Source,
    Stream,
    Sweep,
    decode_json,
)

PAGE_SIZE = 500
_V4 = "/sap/opu/odata4/sap"
_SALES_ORDER = f"{_V4}/api_salesorder/srvd_a2x/sap/salesorder/0001/"
_BILLING = f"{_V4}/api_billingdocument/srvd_a2x/sap/billingdocument/0001/"
_PRODUCT = f"{_V4}/api_product/srvd_a2x/sap/product/0002/"
_PLANT = f"{_V4}/api_plant_2/srvd_a2x/sap/plant/0001/"
_CONTRACT = f"{_V4}/api_condition_contract/srvd_a2x/sap/conditioncontract/0001/"
_PARTNER = "/sap/opu/odata/sap/API_BUSINESS_PARTNER/"
_V2_TIME = re.compile(r"/Date\((-?\d+)(?:[+-]\d{4})?\)/")


def _without_zeros(value: Any) -> Any:
    """Undo the ALPHA conversion: "0004500012" is 4500012, "00AB" stays."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return value.lstrip("0") or "0"
    return value


Alpha = Annotated[str, BeforeValidator(_without_zeros)]


def _from_v2_day(value: Any) -> Any:
    match = _V2_TIME.fullmatch(value) if isinstance(value, str) else None
    return datetime.fromtimestamp(int(match.group(1)) / 1000, UTC) if match else value


V2Day = Annotated[Instant, BeforeValidator(_from_v2_day)]


class SapRecord(Record):
    """SAP writes nothing as an empty text."""

    @model_validator(mode="before")
    @classmethod
    def _blank_is_absent(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {name: value for name, value in data.items() if value != ""}
        return data


class SalesOrder(SapRecord):
    """One sales order as the group books it; its amounts hold no tax."""

    sales_order: Alpha = Field(validation_alias="SalesOrder", min_length=1)
    sales_order_type: str = Field(
        validation_alias="SalesOrderType", description="OR standard, RE returns, …; depends on the language"
    )
    sales_organization: str | None = Field(None, validation_alias="SalesOrganization")
    distribution_channel: str | None = Field(None, validation_alias="DistributionChannel")
    sold_to_party: Alpha | None = Field(None, validation_alias="SoldToParty")
    purchase_order: str | None = Field(
        None,
        validation_alias="PurchaseOrderByCustomer",
        description="the other side's number, as typed or imported",
    )
    ordered_on: date | None = Field(None, validation_alias="SalesOrderDate")
    requested_on: date | None = Field(None, validation_alias="RequestedDeliveryDate")
    currency: Currency = Field(validation_alias="TransactionCurrency")
    net_amount: FloatAmount = Field(
        validation_alias="TotalNetAmount", description="items and header conditions"
    )
    process_status: str | None = Field(
        None, validation_alias="OverallSDProcessStatus", description="A open, B in process, C complete"
    )
    delivery_status: str | None = Field(
        None, validation_alias="OverallDeliveryStatus", description="A, B, C; empty: not relevant"
    )
    rejection_status: str | None = Field(
        None,
        validation_alias="OverallSDDocumentRejectionSts",
        description="A nothing, B in part, C everything rejected",
    )
    created_at: Instant = Field(
        validation_alias="CreatedAt", description="from CreationDate and CreationTime, UTC"
    )
    changed_at: Instant = Field(validation_alias="LastChangeDateTime")

    @model_validator(mode="before")
    @classmethod
    def _creation_is_one_time(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("CreationDate") and data.get("CreationTime"):
            return {**data, "CreatedAt": f"{data['CreationDate']}T{data['CreationTime']}Z"}
        return data


class SalesOrderItem(SapRecord):
    """One item of a sales order."""

    item: Alpha = Field(validation_alias="SalesOrderItem", min_length=1)
    category: str | None = Field(
        None, validation_alias="SalesOrderItemCategory", description="TAN standard, REN return, …"
    )
    product: Alpha | None = Field(None, validation_alias="Product")
    text: str | None = Field(
        None, validation_alias="SalesOrderItemText", description="in the customer's language"
    )
    plant: str | None = Field(None, validation_alias="Plant")
    batch: str | None = Field(None, validation_alias="Batch")
    quantity: FloatQuantity | None = Field(None, validation_alias="RequestedQuantity")
    unit: str | None = Field(None, validation_alias="RequestedQuantitySAPUnit")
    iso_unit: str | None = Field(None, validation_alias="RequestedQuantityISOUnit")
    currency: Currency = Field(validation_alias="TransactionCurrency")
    net_amount: FloatAmount = Field(validation_alias="NetAmount")
    rejection_reason: str | None = Field(None, validation_alias="SalesDocumentRjcnReason")


class PricingElement(SapRecord):
    """One condition of a sales order's header, such as freight."""

    step: Alpha = Field(validation_alias="PricingProcedureStep")
    counter: Alpha = Field(validation_alias="PricingProcedureCounter")
    condition_type: str = Field(validation_alias="ConditionType", description="HD00 freight, …")
    amount: FloatAmount | None = Field(None, validation_alias="ConditionAmount")
    currency: Currency | None = Field(None, validation_alias="TransactionCurrency")


class BillingDocument(SapRecord):
    """One invoice, credit memo or cancellation. Amounts are positive whatever it is; the category tells the side."""

    billing_document: Alpha = Field(validation_alias="BillingDocument", min_length=1)
    billing_type: str | None = Field(
        None, validation_alias="BillingDocumentType", description="F2, G2, S1, …"
    )
    category: str = Field(
        validation_alias="SDDocumentCategory",
        description="M invoice, N its cancellation, O credit memo, S its cancellation, P debit memo, U pro forma",
    )
    billed_on: date = Field(validation_alias="BillingDocumentDate")
    sold_to_party: Alpha | None = Field(None, validation_alias="SoldToParty")
    payer_party: Alpha | None = Field(None, validation_alias="PayerParty")
    currency: Currency = Field(validation_alias="TransactionCurrency")
    net_amount: FloatAmount = Field(validation_alias="TotalNetAmount", ge=0)
    tax_amount: FloatAmount | None = Field(None, validation_alias="TotalTaxAmount")
    is_cancelled: bool | None = Field(None, validation_alias="BillingDocumentIsCancelled")
    cancelled_document: Alpha | None = Field(None, validation_alias="CancelledBillingDocument")
    accounting_document: Alpha | None = Field(
        None, validation_alias="AccountingDocument", description="absent: not posted yet"
    )
    changed_at: Instant = Field(validation_alias="LastChangeDateTime")


class BillingItem(SapRecord):
    """One item of a billing document."""

    item: Alpha = Field(validation_alias="BillingDocumentItem", min_length=1)
    sales_order: Alpha | None = Field(None, validation_alias="SalesDocument")
    sales_order_item: Alpha | None = Field(None, validation_alias="SalesDocumentItem")
    product: Alpha | None = Field(None, validation_alias="Product")
    quantity: FloatQuantity | None = Field(None, validation_alias="BillingQuantity")
    net_amount: FloatAmount = Field(validation_alias="NetAmount")
    tax_amount: FloatAmount | None = Field(None, validation_alias="TaxAmount")
    cost_amount: FloatAmount | None = Field(
        None,
        validation_alias="CostAmount",
        description="what the goods cost, in the document's currency, as goods issue told it",
    )


class Partner(SapRecord):
    """A person or organisation the group does business with."""

    partner: Alpha = Field(validation_alias="BusinessPartner", min_length=1)
    category: str = Field(
        validation_alias="BusinessPartnerCategory", description="1 person, 2 organisation, 3 group"
    )
    full_name: str | None = Field(None, validation_alias="BusinessPartnerFullName")
    first_name: str | None = Field(None, validation_alias="FirstName")
    last_name: str | None = Field(None, validation_alias="LastName")
    organization_name: str | None = Field(None, validation_alias="OrganizationBPName1")
    language: str | None = Field(None, validation_alias="CorrespondenceLanguage")
    is_archived: bool | None = Field(None, validation_alias="IsMarkedForArchiving")
    created_on: V2Day | None = Field(None, validation_alias="CreationDate")
    changed_on: V2Day | None = Field(
        None, validation_alias="LastChangeDate", description="absent until the first change"
    )
    touched_on: V2Day = Field(validation_alias="TouchedOn", description="the later of the two days")

    @model_validator(mode="before")
    @classmethod
    def _newest_day(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {**data, "TouchedOn": data.get("LastChangeDate") or data.get("CreationDate")}
        return data


class PartnerAddress(SapRecord):
    """One address of a business partner, with its first e-mail address and telephone."""

    address_id: Alpha = Field(validation_alias="AddressID")
    street: str | None = Field(None, validation_alias="StreetName")
    house_number: str | None = Field(None, validation_alias="HouseNumber")
    city: str | None = Field(None, validation_alias="CityName")
    region: str | None = Field(None, validation_alias="Region")
    postcode: str | None = Field(None, validation_alias="PostalCode")
    country: Country | None = Field(None, validation_alias="Country")
    email: str | None = Field(
        None, validation_alias=AliasPath("to_EmailAddress", "results", 0, "EmailAddress")
    )
    phone: Phone | None = Field(
        None, validation_alias=AliasPath("to_PhoneNumber", "results", 0, "InternationalPhoneNumber")
    )


class PartnerTaxNumber(SapRecord):
    """One tax number of a business partner."""

    tax_type: str = Field(validation_alias="BPTaxType", description="DE0, GB0, CN0, …")
    number: str = Field(
        validation_alias=AliasChoices("BPTaxNumber", "BPTaxLongNumber"),
        description="one of more than 20 signs stands in a field of its own",
    )


class Product(SapRecord):
    """One material, by the group's own number."""

    product: Alpha = Field(validation_alias="Product", min_length=1)
    product_type: str | None = Field(
        None, validation_alias="ProductType", description="HAWA trading goods, DIEN service, …"
    )
    old_number: str | None = Field(None, validation_alias="ProductOldID")
    manufacturer_number: str | None = Field(None, validation_alias="ProductManufacturerNumber")
    gtin: Gtin | None = Field(None, validation_alias="ProductStandardID")
    product_group: str | None = Field(None, validation_alias="ProductGroup")
    iso_unit: str | None = Field(None, validation_alias="BaseISOUnit")
    gross_weight: FloatQuantity | None = Field(None, validation_alias="GrossWeight")
    weight_iso_unit: str | None = Field(None, validation_alias="WeightISOUnit")
    is_deleted: bool | None = Field(None, validation_alias="IsMarkedForDeletion")
    changed_at: Instant = Field(validation_alias="LastChangeDateTime")


class ProductText(SapRecord):
    """What a material is called in one language."""

    language: str = Field(validation_alias="Language")
    text: str = Field(validation_alias="ProductDescription")


class Plant(SapRecord):
    """A place that keeps stock; four signs and a name."""

    plant: str = Field(validation_alias="Plant", min_length=1)
    name: str | None = Field(None, validation_alias="PlantName")


class ConditionContract(SapRecord):
    """An agreement on rebates with one customer."""

    contract: Alpha = Field(validation_alias="ConditionContract", min_length=1)
    contract_type: str | None = Field(None, validation_alias="CndnContrType")
    customer: Alpha | None = Field(None, validation_alias="Customer")
    valid_from_on: date | None = Field(None, validation_alias="CndnContrValidFrom")
    valid_to_on: date | None = Field(None, validation_alias="CndnContrValidTo")


class ContractCondition(SapRecord):
    """One rate of a condition contract."""

    condition_type: str = Field(validation_alias="ConditionType")
    rate_percent: Ratio | None = Field(None, validation_alias="ConditionRateRatio")
    valid_from_on: date | None = Field(None, validation_alias="ConditionValidityStartDate")
    valid_to_on: date | None = Field(None, validation_alias="ConditionValidityEndDate")


_HEADERS = {
    "Accept": "application/json;IEEE754Compatible=true",
    "Accept-Language": "en",
    "Prefer": f"odata.maxpagesize={PAGE_SIZE},odata.track-changes",
}
_SWEEP_HEADERS = {"Prefer": "odata.maxpagesize=5000"}


def _iso(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ask(order_by: str, expand: str = "", changed: str = "") -> Callable[[Bounds], Ask]:
    def ask(bounds: Bounds) -> Ask:
        sides = [("ge", bounds.since), ("lt", bounds.until)]
        terms = [f"{changed} {sign} {_iso(at)}" for sign, at in sides if at is not None and changed]
        params = {"$orderby": order_by, "$expand": expand, "$filter": " and ".join(terms)}
        return Ask(params={name: text for name, text in params.items() if text}, headers=_HEADERS)

    return ask


def _ask_partners(bounds: Bounds) -> Ask:
    expand = "to_BusinessPartnerAddress/to_EmailAddress,to_BusinessPartnerAddress/to_PhoneNumber,to_BusinessPartnerTax"
    params = {"$format": "json", "$orderby": "BusinessPartner", "$expand": expand}
    if bounds.since is not None:
        day = f"datetime'{bounds.since.astimezone(UTC):%Y-%m-%d}T00:00:00'"
        # A partner that was never changed has no day of change.
        params["$filter"] = f"LastChangeDate ge {day} or CreationDate ge {day}"
    return Ask(params=params, headers={"Accept-Language": "en"})


def fault(body: Any) -> ConnectorError | None:
    """Find an error in an answer 200, as a gateway in between makes of one: V4 and V2 write it almost alike."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return None
    message = error.get("message")
    said = message.get("value") if isinstance(message, dict) else message
    details = [str(item.get("message")) for item in error.get("details") or [] if isinstance(item, dict)]
    return FatalError("; ".join([f"sap_s4: {said} ({error.get('code')})", *details]))


def _v4(root: str, entity: str, name: str, record: type[Record], key: str, description: str, *, expand: str = "",
        cursor: str | None = None, children: tuple[Child, ...] = (), totals: tuple[ControlTotal, ...] = ()) -> Stream:  # fmt: skip
    changed = "LastChangeDateTime" if cursor else ""
    return Stream(
        name=name,
        record=record,
        key=(key,),
        path=root + entity,
        ask=_ask(entity, expand, changed),
        rows="value",
        pages=NextLink(base=root),
        cursor=cursor,
        delta=Delta(base=root, key=entity, headers=_HEADERS),
        sweep=Sweep(
            ask=Ask(params={"$select": entity, "$orderby": entity}, headers=_SWEEP_HEADERS),
            rows="value",
            pages=NextLink(base=root),
            key=entity,
        ),
        count=Count(
            ask=Ask(params={"$count": "true", "$top": "0"}, headers=_HEADERS), read=("@odata.count",)
        ),
        children=children,
        control_totals=totals,
        description=description,
    )


_TOTAL = (ControlTotal(amount="net_amount", currency="currency"),)

SOURCE = Source(
    name="sap_s4",
    title="SAP S/4HANA",
    kind=Kind.ERP,
    owner="finance-team",
    unheard="SAP tells of business events through a queue (Event Mesh), not an address; delta links tell what changed.",
    # No base URL: every company has its own host.
    auth=ClientCredentials(token_url="/sap/bc/sec/oauth2/token", hint="sap_s4"),  # noqa: S106 - a path
    fault=fault,
    decode=decode_json,
    limit=RateLimit(requests=20, seconds=1.0),
    timeout_seconds=120.0,
    documentation="https://api.sap.com/products/SAPS4HANACloud/apis/ODATAV4",
    streams=(
        _v4(_PLANT, "Plant", "plants", Plant, "plant", "Plants, read whole."),
        _v4(_PRODUCT, "Product", "products", Product, "product", "Materials with their names.",
            expand="_ProductDescription", cursor="changed_at",
            children=(Child(name="product_texts", path="_ProductDescription", record=ProductText, parent={"product": "product"}),)),
        Stream(
            name="partners",
            kept="Partners are marked for archiving, which they say, and not deleted by anybody but the archive.",
            record=Partner,
            key=("partner",),
            path=f"{_PARTNER}A_BusinessPartner",
            ask=_ask_partners,
            rows="d.results",
            pages=NextLink(read=("d", "__next"), base=_PARTNER),
            cursor="touched_on",
            count=Count(
                ask=Ask(params={"$format": "json", "$inlinecount": "allpages", "$top": "0"}), read=("d", "__count")
            ),
            children=(
                Child(name="partner_addresses", path="to_BusinessPartnerAddress.results", record=PartnerAddress,
                      parent={"partner": "partner"}),
                Child(name="partner_tax_numbers", path="to_BusinessPartnerTax.results", record=PartnerTaxNumber,
                      parent={"partner": "partner"}),
            ),
            description="Business partners with addresses and tax numbers.",
        ),
        _v4(_SALES_ORDER, "SalesOrder", "sales_orders", SalesOrder, "sales_order", "Sales orders with items and header conditions.",
            expand="_Item,_PricingElement", cursor="changed_at", totals=_TOTAL,
            children=(
                Child(name="sales_order_items", path="_Item", record=SalesOrderItem, parent={"sales_order": "sales_order"}),
                Child(name="sales_order_conditions", path="_PricingElement", record=PricingElement,
                      parent={"sales_order": "sales_order"}),
            )),
        _v4(_BILLING, "BillingDocument", "billing_documents", BillingDocument, "billing_document",
            "Invoices, credit memos and cancellations with their items.", expand="_Item", cursor="changed_at", totals=_TOTAL,
            children=(Child(name="billing_items", path="_Item", record=BillingItem,
                            parent={"billing_document": "billing_document"}),)),
        _v4(_CONTRACT, "ConditionContract", "condition_contracts", ConditionContract, "contract",
            "Rebate agreements with their rates, read whole.", expand="_CndnContrCndnRecord",
            children=(Child(name="contract_conditions", path="_CndnContrCndnRecord", record=ContractCondition,
                            parent={"contract": "contract"}),)),
    ),
)  # fmt: skip
