"""SAP S/4HANA as the group's books: sales in Asia, and business orders a second time.

Orders of a marketplace are booked on one collective account each; only businesses have partners of their own. The number
the channel gave an order stands in PurchaseOrderByCustomer as the import, or a clerk, wrote it. Freight is a header
condition; tax is known once an order is billed. Businesses in China are billed once a week, all that left for them in one
document, dated with the last goods issue; its items hold their share of the freight. Numbers lose their leading zeros in headers and keep them in items.

Source: https://api.sap.com (CE_SALESORDER_0001, CE_BILLINGDOCUMENT_0001, CE_PRODUCT_0002, API_PLANT_2, API_BUSINESS_PARTNER),
OData 4.01 Protocol
"""

from __future__ import annotations

import base64
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, quote, urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox import vocabulary as words
from connectors.sandbox.credentials import Credentials
from connectors.sandbox.differences import Cause, Differences, Planted, week_end
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import PREFIXES, Channel, Customer, Order, Product, World

Json = dict[str, Any]

CLIENT_ID = "orderhub-client"
_BOOKS = ZoneInfo("Asia/Shanghai")
_OPENED_AT = datetime(2024, 1, 2, 1, 30, tzinfo=UTC)
_V4 = "/sap/opu/odata4/sap"
_ROOTS = {
    "SalesOrder": f"{_V4}/api_salesorder/srvd_a2x/sap/salesorder/0001",
    "BillingDocument": f"{_V4}/api_billingdocument/srvd_a2x/sap/billingdocument/0001",
    "Product": f"{_V4}/api_product/srvd_a2x/sap/product/0002",
    "Plant": f"{_V4}/api_plant_2/srvd_a2x/sap/plant/0001",
    "ConditionContract": f"{_V4}/api_condition_contract/srvd_a2x/sap/conditioncontract/0001",
}
_PARTNERS = "/sap/opu/odata/sap/API_BUSINESS_PARTNER/A_BusinessPartner"
_PLANTS = {"L07": "WHCN", "L08": "WHDE", "L09": "WHUS", "L10": "DSSH", "L11": "DSLN"}
_ACCOUNTS = {
    channel: 700001 + place
    for place, channel in enumerate(
        (
            Channel.TMALL,
            Channel.PINDUODUO,
            Channel.DOUYIN,
            Channel.XIAOHONGSHU,
            Channel.WECHAT_SHOP,
            Channel.LAZADA,
        )
    )
}
_LINKS_LAST = timedelta(days=7)
_DEFAULT_PAGE = 100
_LARGEST_PAGE = 5000
_TAX_TYPES = {
    "CN": "CN0",
    "DE": "DE0",
    "GB": "GB0",
    "FR": "FR0",
    "ES": "ES0",
    "US": "US1",
    "JP": "JP1",
    "SG": "SG1",
}


def _number(truth_id: str) -> int:
    return int("".join(character for character in truth_id if character.isdigit()))


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _changed_at(row: Json) -> datetime:
    return datetime.fromisoformat(str(row["LastChangeDateTime"]))


def _is_trade(order: Order) -> bool:
    return order.channel in (Channel.B2B, Channel.DEALER)


def _due_at(order: Order) -> datetime:
    """When an order is to be billed: once goods left for a business, once others paid."""
    left_at = [shipment.dispatched_at for shipment in order.shipments]
    if order.paid_at is None or (_is_trade(order) and left_at):
        return min(left_at)
    return order.paid_at


def _v2_day(at: datetime) -> str:
    day = datetime.combine(at.astimezone(UTC).date(), datetime.min.time(), UTC)
    return f"/Date({int(day.timestamp() * 1000)})/"


def _listed(rows: list[Json]) -> Json:
    return {"results": rows}


class Twin:
    """Serves the OAuth token endpoint, five V4 services and the V2 service of business partners."""

    name = "sap_s4"

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self._world, self._dirt, self._credentials = world, dirt, credentials
        self._differences = Differences(world, dirt)
        self._truth: list[Truth] = []
        self.deleted: set[str] = set()
        # What is billed by the week, by account and when the week ends.
        self._weekly: dict[tuple[int, datetime], list[Order]] = defaultdict(list)
        self._rows: dict[str, dict[str, Json]] = {entity: {} for entity in (*_ROOTS, "A_BusinessPartner")}
        for location_id, plant in _PLANTS.items():
            place = world.locations[location_id]
            self._rows["Plant"][plant] = {
                "Plant": plant,
                "PlantName": dirt.text(place.name, f"place/{location_id}"),
            }
            self._truth.append(Truth("location", f"sap_s4:plants:{plant}", location_id))
        for product in world.products.values():
            for copy in range(dirt.copies(f"product/{product.product_id}", 0.02)):
                self._enter_product(product, copy)
        for channel, account in _ACCOUNTS.items():
            self._enter_partner(account, "3", f"{PREFIXES[channel][0]} consumers", _OPENED_AT)
        for order in world.orders.values():
            if order.sap_number is not None:
                self._enter_order(order, order.sap_number)
        for (account, billed_at), orders in self._weekly.items():
            if billed_at <= world.now:
                self._enter_collective(account, orders, billed_at)

    def routes(self) -> Sequence[BaseRoute]:
        reads = [Route(f"{root}/{entity}", self._reader(entity)) for entity, root in _ROOTS.items()]
        return [
            Route("/sap/bc/sec/oauth2/token", self._token, methods=["POST"]),
            Route(_PARTNERS, self._read_partners),
            *reads,
        ]

    def differences(self) -> Iterable[Planted]:
        """What invoices differ in."""
        return self._differences.listed

    def truth(self) -> Iterable[Truth]:
        return self._truth

    def env(self, base_url: str) -> dict[str, str]:
        return {
            "ORDERHUB_SAP_S4_URL": base_url,
            "ORDERHUB_SAP_S4_CLIENT_ID": CLIENT_ID,
            "ORDERHUB_SAP_S4_CLIENT_SECRET": self._credentials.secret("sap_s4", "CLIENT_SECRET"),
        }

    # --- master data --------------------------------------------------------------------------------------------------

    def _enter_product(self, product: Product, copy: int) -> None:
        dirt, key = self._dirt, f"product/{product.product_id}/{copy}"
        number = str(1_000_000 + 5000 * copy + _number(product.product_id))
        in_grams = dirt.chance(f"{key}/grams", 0.2)
        texts = [("EN", dirt.title(product, key, "latin")), ("ZH", dirt.title(product, f"{key}/zh", "han"))]
        self._rows["Product"][number] = {
            "Product": number,
            "ProductType": "HAWA",
            "ProductOldID": "",
            "ProductManufacturerNumber": dirt.code(product.mpn, key, 0.08) or "",
            "ProductStandardID": dirt.gtin(product, key, 0.15) or "",
            "ProductGroup": product.category,
            "BaseUnit": "PC",
            "BaseISOUnit": "PCE",
            "GrossWeight": product.weight_kg * 1000 if in_grams else product.weight_kg,
            "WeightUnit": "G" if in_grams else "KG",
            "WeightISOUnit": "GRM" if in_grams else "KGM",
            "IsMarkedForDeletion": copy > 0,
            "LastChangeDateTime": _time(_OPENED_AT + timedelta(days=_number(product.product_id) % 300)),
            "_ProductDescription": [
                {"Product": number, "Language": language, "ProductDescription": text}
                for language, text in texts
            ],
        }
        self._truth.append(Truth("sku", f"sap_s4:products:{number}", product.product_id))

    def _enter_partner(self, number: int, category: str, name: str, at: datetime, **fields: Any) -> None:
        has_changed = self._dirt.fraction(f"partner/{number}/changed") < 0.2
        changed_at = min(at + timedelta(days=9), self._world.now)
        row: Json = {
            "BusinessPartner": str(number),
            "BusinessPartnerCategory": category,
            "BusinessPartnerFullName": name,
            "FirstName": "",
            "LastName": "",
            "OrganizationBPName1": name if category == "2" else "",
            "CorrespondenceLanguage": "",
            "IsMarkedForArchiving": False,
            "CreationDate": _v2_day(at),
            "LastChangeDate": _v2_day(changed_at) if has_changed else None,
            "to_BusinessPartnerAddress": _listed([]),
            "to_BusinessPartnerTax": _listed([]),
        }
        self._rows["A_BusinessPartner"][str(number)] = row | fields

    def _partner(self, customer: Customer, order: Order) -> int:
        number = 200_000 + _number(customer.customer_id)
        if str(number) in self._rows["A_BusinessPartner"]:
            return number
        dirt, key = self._dirt, f"partner/{customer.customer_id}"
        given, family = dirt.name_parts(customer, key, "both")
        address = dirt.address(customer.address, key, "both")
        email, phone = dirt.email(customer, key, 0.3), dirt.phone(customer, key, 0.3)
        tax = dirt.tax_number(customer, key, 0.1)
        lines: Json = {
            "AddressID": str(number * 10),
            "StreetName": address.street,
            "HouseNumber": "",
            "CityName": address.city,
            "Region": address.region,
            "PostalCode": address.postcode,
            "Country": address.country,
            "to_EmailAddress": _listed([{"EmailAddress": email}] if email else []),
            "to_PhoneNumber": _listed([{"InternationalPhoneNumber": phone}] if phone else []),
        }
        taxes = [{"BPTaxType": _TAX_TYPES[customer.address.country], "BPTaxNumber": tax}] if tax else []
        is_company = customer.is_company
        self._enter_partner(
            number,
            "2" if is_company else "1",
            dirt.company(customer, key, "both") if is_company else f"{given} {family}",
            order.placed_at,
            FirstName="" if is_company else given,
            LastName="" if is_company else family,
            CorrespondenceLanguage=customer.language.upper(),
            to_BusinessPartnerAddress=_listed([lines]),
            to_BusinessPartnerTax=_listed(taxes),
        )
        self._truth.append(Truth("customer", f"sap_s4:partners:{number}", customer.customer_id))
        return number

    # --- documents ----------------------------------------------------------------------------------------------------

    def _enter_order(self, order: Order, number: str) -> None:
        key = f"order/{order.order_id}"
        account = _ACCOUNTS.get(order.channel)
        if account is None:
            account = self._partner(self._world.customers[str(order.customer_id)], order)
        booked_at = order.placed_at + timedelta(minutes=self._dirt.number(f"{key}/import", 1, 200))
        booked_at = min(booked_at, self._world.now)
        changed_at = min(max(booked_at, self._dirt.late(order.updated_at, key)), self._world.now)
        whole = sum(line.quantity for line in order.lines)
        sent = sum(quantity for shipment in order.shipments for _, quantity in shipment.lines)
        is_rejected = order.cancelled_at is not None
        freight = [
            {
                "PricingProcedureStep": "600",
                "PricingProcedureCounter": "1",
                "ConditionType": "HD00",
                "ConditionAmount": order.shipping_amount,
                "TransactionCurrency": order.currency,
            }
        ]
        row: Json = {
            "SalesOrder": number,
            "SalesOrderType": "OR",
            "SalesOrganization": "1010" if order.currency == "CNY" else "1710",
            "DistributionChannel": "20" if _is_trade(order) else "10",
            "SoldToParty": str(account),
            "PurchaseOrderByCustomer": self._reference(order) or "",
            "SalesOrderDate": order.placed_at.astimezone(_BOOKS).date().isoformat(),
            "RequestedDeliveryDate": (order.promised_at or order.placed_at)
            .astimezone(_BOOKS)
            .date()
            .isoformat(),
            "CreationDate": booked_at.date().isoformat(),
            "CreationTime": booked_at.strftime("%H:%M:%S"),
            "LastChangeDateTime": _time(changed_at),
            "TransactionCurrency": order.currency,
            "TotalNetAmount": order.net_amount,
            "OverallSDProcessStatus": "C" if is_rejected or order.closed_at else "B" if sent else "A",
            "OverallDeliveryStatus": "" if is_rejected else "C" if sent == whole else "B" if sent else "A",
            "OverallSDDocumentRejectionSts": "C" if is_rejected else "A",
            "_Item": [self._item(order, line_number) for line_number in range(1, len(order.lines) + 1)],
            "_PricingElement": freight if order.shipping_amount else [],
        }
        if self._dirt.is_invalid(key):
            row["TransactionCurrency"] = "RMB"
        self._rows["SalesOrder"][number] = row
        self._truth.append(Truth("order", f"sap_s4:sales_orders:{number}", order.order_id))
        if not is_rejected and (order.paid_at or order.shipments):
            self._enter_billing(order, account)

    def _reference(self, order: Order) -> str | None:
        dirt, key = self._dirt, f"reference/{order.order_id}"
        number = dirt.order_number(order.number, key)
        if dirt.chance(f"{key}/missing", 0.02):
            return None
        if order.channel in PREFIXES:
            one, other = PREFIXES[order.channel]
            return dirt.spelling(key, number, (f"{one} {number}", f"{other}{number}"))
        return dirt.spelling(key, number, (f"PO {number}", number.lower()))

    def _item(self, order: Order, line_number: int) -> Json:
        line = order.lines[line_number - 1]
        number, product = 1_000_000 + _number(line.product_id), self._world.products[line.product_id]
        place = order.shipments[0].location_id if order.shipments else "L07"
        return {
            "SalesOrder": str(order.sap_number).zfill(10),
            "SalesOrderItem": str(line_number * 10).zfill(6),
            "SalesOrderItemCategory": "TAN",
            "Product": str(number).zfill(18),
            "SalesOrderItemText": product.title_zh if order.currency == "CNY" else product.title,
            "Plant": _PLANTS.get(place, ""),
            "Batch": line.lot_id or "",
            "RequestedQuantity": Decimal(line.quantity),
            "RequestedQuantitySAPUnit": "PC",
            "RequestedQuantityISOUnit": "PCE",
            "TransactionCurrency": order.currency,
            "NetAmount": line.list_amount - line.discount_amount,
            "SalesDocumentRjcnReason": "Z1" if order.cancelled_at else "",
        }

    def _cost(self, product_id: str, quantity: int, currency: str) -> Decimal:
        each = self._world.products[product_id].unit_cost * words.PRICE_LIST_RATE[currency]
        return (quantity * each).quantize(Decimal(1).scaleb(-words.MINOR_UNIT_DIGITS[currency]))

    def _billing_items(self, order: Order) -> list[Json]:
        return [
            {
                "BillingDocumentItem": str(line.line_number * 10).zfill(6),
                "SalesDocument": str(order.sap_number).zfill(10),
                "SalesDocumentItem": str(line.line_number * 10).zfill(6),
                "Product": str(1_000_000 + _number(line.product_id)).zfill(18),
                "BillingQuantity": Decimal(line.quantity),
                "NetAmount": line.list_amount - line.discount_amount,
                "TaxAmount": line.tax_amount,
                "CostAmount": self._cost(line.product_id, line.quantity, order.currency),
            }
            for line in order.lines
        ]

    def _enter_collective(self, account: int, orders: list[Order], billed_at: datetime) -> None:
        """Bill what left for one account in one week, at the week's end."""
        due_at = [_due_at(order) for order in orders]
        number = str(90_000_000 + _number(orders[0].order_id))
        items: list[Json] = []
        for order in orders:
            billed = self._billing_items(order)
            unit = Decimal(1).scaleb(-words.MINOR_UNIT_DIGITS[order.currency])
            goods, rest = sum(item["NetAmount"] for item in billed), order.shipping_amount
            for item in billed[1:]:
                share = (order.shipping_amount * item["NetAmount"] / goods).quantize(unit)
                item["NetAmount"] += share
                rest -= share
            billed[0]["NetAmount"] += rest
            items += billed
            if len(orders) > 1:
                self._truth.append(Truth("order", f"sap_s4:billing_documents:{number}", order.order_id))
        for place, item in enumerate(items, 1):
            item["BillingDocumentItem"] = str(place * 10).zfill(6)
        amounts = (
            sum((order.net_amount for order in orders), Decimal(0)),
            sum((order.tax_amount + order.duty_amount for order in orders), Decimal(0)),
        )
        self._bill(orders[0], number, "F2", "M", max(due_at), account, amounts, items, billed_at=billed_at)

    def _enter_billing(self, order: Order, account: int) -> None:
        due_at = _due_at(order)
        items = self._billing_items(order)
        number, amounts = 90_000_000 + _number(order.order_id), (order.net_amount, order.tax_amount)
        # Of what nobody else states a total of, nobody can tell that it differs.
        is_told = not _is_trade(order) and order.channel is not Channel.PINDUODUO
        is_astray = self._dirt.is_invalid(f"order/{order.order_id}")
        cause = self._differences.draw("invoice", order) if is_told and not is_astray else None
        # WeChat's prices have the tax in them: what it is, the bill alone tells.
        if cause is Cause.TAX_ROUNDING and order.channel is Channel.WECHAT_SHOP:
            cause = None
        bill = None
        if _is_trade(order) and order.shipments and order.currency == "CNY" and not is_astray:
            # A parcel is in the bill of the week in which its first scan is seen, or else the bill would change later.
            seen_at = min(shipment.first_scan_at for shipment in order.shipments)
            self._weekly[account, week_end(max(seen_at, due_at))].append(order)
        else:
            bill = self._differences.billed(order, due_at, cause, None)
        if bill is not None and self._dirt.chance(
            f"billing/{order.order_id}/again", 0.02
        ):  # billed, cancelled and billed anew
            cancelled = str(number + 1_000_000)
            self._bill(order, cancelled, "F2", "M", due_at, account, amounts, items, is_cancelled=True)
            self._bill(
                order, str(number + 2_000_000), "S1", "N", due_at, account, amounts, items, cancels=cancelled
            )
        if bill is not None:
            booked = [
                {**item, "NetAmount": net} for item, net in zip(items, bill.lines.values(), strict=True)
            ]
            for copy in range(bill.copies):
                document, told = str(number + 3_000_000 * copy), (bill.net, bill.tax)
                self._bill(order, document, "F2", "M", bill.posted_at, account, told, booked)
                if is_astray:
                    self._differences.astray(
                        "invoice", f"sap_s4:billing_documents:{document}", order, sum(told, Decimal(0))
                    )
        for place, returned in enumerate(order.returns):
            memo = str(95_000_000 + _number(order.order_id) * 10 + place)
            split = order.split_refund(returned)
            item = {
                **items[returned.line_number - 1],
                "BillingDocumentItem": "000010",
                "BillingQuantity": Decimal(returned.quantity),
                "NetAmount": split[0],
                "TaxAmount": split[1],
                "CostAmount": self._cost(
                    order.lines[returned.line_number - 1].product_id, returned.quantity, order.currency
                ),
            }
            self._bill(order, memo, "G2", "O", returned.refunded_at, account, split, [item])
            if is_astray:
                self._differences.astray(
                    "credit_note", f"sap_s4:billing_documents:{memo}", order, sum(split, Decimal(0))
                )

    def _bill(
        self,
        order: Order,
        number: str,
        kind: str,
        category: str,
        at: datetime,
        account: int,
        amounts: tuple[Decimal, Decimal],
        items: list[Json],
        *,
        is_cancelled: bool = False,
        cancels: str = "",
        billed_at: datetime | None = None,
    ) -> None:
        self._rows["BillingDocument"][number] = {
            "BillingDocument": number,
            "BillingDocumentType": kind,
            "SDDocumentCategory": category,
            "BillingDocumentDate": at.astimezone(_BOOKS).date().isoformat(),
            "SoldToParty": str(account),
            "PayerParty": str(account).zfill(10),
            "TransactionCurrency": order.currency,
            "TotalNetAmount": amounts[0],
            "TotalTaxAmount": amounts[1],
            "BillingDocumentIsCancelled": is_cancelled,
            "CancelledBillingDocument": cancels,
            "AccountingDocument": str(1_000_000_000 + int(number)),
            "LastChangeDateTime": _time(billed_at or at),
            "_Item": items,
        }
        if order.channel is Channel.DEALER:
            self._enter_contract(account, order.placed_at)

    def _enter_contract(self, account: int, at: datetime) -> None:
        number = str(500_000 + account)
        year = date(at.year, 1, 1), date(at.year, 12, 31)
        rate = self._dirt.pick(f"contract/{account}", (Decimal("2.000"), Decimal("3.000"), Decimal("4.500")))
        validity = [day.isoformat() for day in year]
        self._rows["ConditionContract"][number] = {
            "ConditionContract": number,
            "CndnContrType": "0S01",
            "Customer": str(account).zfill(10),
            "CndnContrValidFrom": validity[0],
            "CndnContrValidTo": validity[1],
            "_CndnContrCndnRecord": [
                {
                    "ConditionType": "REBS",
                    "ConditionRateRatio": rate,
                    "ConditionValidityStartDate": validity[0],
                    "ConditionValidityEndDate": validity[1],
                }
            ],
        }

    # --- the protocol -------------------------------------------------------------------------------------------------

    async def _token(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode())
        if form.get("grant_type") != ["client_credentials"]:
            return JSONResponse({"error": "unsupported_grant_type"}, status_code=400)
        try:
            given = base64.b64decode(request.headers.get("authorization", "").removeprefix("Basic ")).decode()
        except ValueError:
            given = ""
        client, _, secret = given.partition(":")
        if client != CLIENT_ID or not self._credentials.accepts("sap_s4", "CLIENT_SECRET", secret):
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        return JSONResponse({"access_token": self._access(), "token_type": "Bearer", "expires_in": 3599})

    def _access(self) -> str:
        return self._credentials.secret("sap_s4", "access", 48)

    def _reader(self, entity: str) -> Callable[[Request], Any]:
        async def read(request: Request) -> Response:
            if request.headers.get("authorization") != f"Bearer {self._access()}":
                return _refuse("Authentication failed", "401", 401)
            asked = dict(request.query_params)
            tracked = asked.pop("$deltatoken", None)
            since = None if tracked is None else datetime.fromisoformat(tracked)
            if since is not None and self._world.now - since > _LINKS_LAST:
                return _refuse("The delta token is no longer known; read the collection again", "410", 410)
            try:
                rows = _select(
                    [row for row in self._rows[entity].values() if row[entity] not in self.deleted], asked
                )
            except ValueError as error:
                return _refuse(str(error), "/IWBEP/CM_V4_MED/174", 400)
            if since is not None:
                rows = [row for row in rows if "LastChangeDateTime" not in row or _changed_at(row) > since]
            prefer = request.headers.get("prefer", "")
            size = _page_size(prefer)
            start = int(asked.get("$skiptoken", "0"))
            expanded = set(asked.get("$expand", "").split(","))
            as_text = "ieee754compatible=true" in request.headers.get("accept", "").lower()
            page = [_shown(row, expanded, as_text) for row in rows[start : start + size]]
            body: Json = {"@odata.context": "$metadata#" + entity, "value": page}
            if asked.get("$count") == "true":
                body["@odata.count"] = str(len(rows)) if as_text else len(rows)
            if asked.get("$top") == "0":
                return JSONResponse(body | {"value": []}, headers={"OData-Version": "4.0"})
            if start + size < len(rows):
                following = {**asked, "$skiptoken": str(start + size)}
                if tracked is not None:
                    following["$deltatoken"] = tracked
                body["@odata.nextLink"] = f"{entity}?{urlencode(following, safe='$,', quote_via=quote)}"
            elif "odata.track-changes" in prefer or since is not None:
                if since is not None:
                    body["value"] += [
                        {
                            "@odata.context": f"$metadata#{entity}/$deletedEntity",
                            "id": f"{entity}('{key}')",
                            "reason": "deleted",
                        }
                        for key in sorted(self.deleted & set(self._rows[entity]))
                    ]
                following = {name: text for name, text in asked.items() if name != "$skiptoken"}
                following["$deltatoken"] = self._world.now.isoformat()
                body["@odata.deltaLink"] = f"{entity}?{urlencode(following, safe='$,', quote_via=quote)}"
            return JSONResponse(body, headers={"OData-Version": "4.0"})

        return read

    async def _read_partners(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {self._access()}":
            return _refuse("Authentication failed", "401", 401)
        asked = dict(request.query_params)
        days = re.findall(r"datetime'([^']+)'", asked.get("$filter", ""))
        since = datetime.fromisoformat(days[0]).replace(tzinfo=UTC) if days else None
        rows = [
            row for row in self._rows["A_BusinessPartner"].values() if since is None or _touched(row) >= since
        ]
        rows.sort(key=lambda row: str(row["BusinessPartner"]))
        start = int(asked.get("$skiptoken", "0"))
        body: Json = {"results": rows[start : start + _DEFAULT_PAGE]}
        if asked.get("$inlinecount") == "allpages":
            body["__count"] = str(len(rows))
        if asked.get("$top") == "0":
            return JSONResponse({"d": body | {"results": []}})
        if start + _DEFAULT_PAGE < len(rows):
            following = {**asked, "$skiptoken": str(start + _DEFAULT_PAGE)}
            body["__next"] = (
                f"{str(request.url).partition('?')[0]}?{urlencode(following, safe='$,', quote_via=quote)}"
            )
        return JSONResponse({"d": body})


def _refuse(message: str, code: str, status: int) -> Response:
    return JSONResponse({"error": {"code": code, "message": message, "details": []}}, status_code=status)


def _touched(row: Json) -> datetime:
    text = str(row["LastChangeDate"] or row["CreationDate"])
    return datetime.fromtimestamp(int(text[6:-2]) / 1000, UTC)


def _page_size(prefer: str) -> int:
    match = re.search(r"(?:odata\.)?maxpagesize=(\d+)", prefer)
    return min(int(match.group(1)), _LARGEST_PAGE) if match else _DEFAULT_PAGE


def _shown(value: Any, expanded: set[str] | None, as_text: bool) -> Any:
    """A row as it is sent: without what was not expanded; decimals as texts or numbers."""
    if isinstance(value, list):
        return [_shown(item, None, as_text) for item in value]
    if isinstance(value, dict):
        return {
            name: _shown(item, None, as_text)
            for name, item in value.items()
            if expanded is None or not name.startswith("_") or name in expanded
        }
    if isinstance(value, Decimal):
        return str(value) if as_text else float(value)
    return value


_TERM = re.compile(r"(\w+) (ge|gt|le|lt|eq) (\S+)")


def _select(rows: list[Json], asked: Json) -> list[Json]:
    """Rows that `$filter` (comparisons joined by `and`) lets through, in the order of `$orderby`."""
    for term in filter(None, asked.get("$filter", "").split(" and ")):
        match = _TERM.fullmatch(term)
        if match is None or (rows and match.group(1) not in rows[0]):
            raise ValueError(f"Property in filter {term!r} is not known")
        name, sign, bound = match.groups()
        rows = [row for row in rows if _holds(str(row[name]), sign, bound)]
    by = asked.get("$orderby", "")
    if by and rows and by not in rows[0]:
        raise ValueError(f"Property {by!r} is not known")
    return sorted(rows, key=lambda row: str(row[by])) if by else rows


def _holds(held: str, sign: str, bound: str) -> bool:
    match sign:
        case "ge":
            return held >= bound
        case "gt":
            return held > bound
        case "le":
            return held <= bound
        case "lt":
            return held < bound
        case _:
            return held == bound
