"""Odoo as the sandbox company's warehouses and Chinese stores use it: what leaves and comes back through warehouses and dark
stores, and what the tills sell (`odoo_till.py`).

Deliveries take three steps, pick, pack and deliver, each its own picking with the same origin. The origin is what came
with the order: mostly the ERP's sale number, at times the shop's, in either case as somebody's import writes it. Orders
of one customer that go in one parcel are one delivery, whose origin names each.
Products were entered by warehouse people, in either script; a few codes were given to another product later on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox import vocabulary as words
from connectors.sandbox.credentials import Credentials
from connectors.sandbox.differences import Cause, Differences, Planted
from connectors.sandbox.dirt import Dirt, Script
from connectors.sandbox.odoo_records import Records, Row, titled, written
from connectors.sandbox.odoo_till import Tills, sale_name
from connectors.sandbox.places import is_sold_at, stores_at
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import (
    PREFIXES,
    Address,
    Channel,
    Customer,
    Location,
    Order,
    Product,
    Return,
    Shipment,
    World,
)
from connectors.sandbox.zendesk import tells_return

DATABASE = "luna"
_KINDS = ("warehouse", "dark_store")
_STOCKED = (
    *_KINDS,
    "store",
)  # stores that sell at Square's tills send nothing from here, but their lots and best-before dates are kept here
# What stores sell elsewhere leaves over the counter, what dealers order goes ex works.
_ELSEWHERE = (Channel.POS, Channel.DEALER)
_SHOPS_COUNT_RETURNS = (Channel.SHOPIFY,)
_DESK_COUNTS_RETURNS = (Channel.VENDURE, Channel.AMAZON, Channel.B2B, Channel.DEALER)
_CUSTOMERS, _SUPPLIERS = 5, 4  # ids of the virtual places outside
_ZONES = ((0, "", "view"), (1, "Stock", "internal"), (2, "Output", "internal"), (3, "Packing Zone", "internal"),
          (4, "Input", "internal"))  # fmt: skip
_STOCK, _OUTPUT, _PACKING, _INPUT = 1, 2, 3, 4
_TYPES = ((1, "Receipts", "incoming", "IN"), (2, "Pick", "internal", "PICK"), (3, "Pack", "internal", "PACK"),
          (4, "Delivery Orders", "outgoing", "OUT"))  # fmt: skip
_IN, _PICK, _PACK, _OUT = 1, 2, 3, 4
CARRIER_NAMES = {"sf_express": "SF Express", "zto": "ZTO", "royal_mail": "Royal Mail", "dpd": "DPD", "dhl": "DHL",
             "colissimo": "Colissimo", "ups": "UPS", "usps": "USPS", "fedex": "FedEx", "yamato": "Yamato",
             "correos": "Correos"}  # fmt: skip
_COUNTRY_NAMES = {"CN": "China", "GB": "United Kingdom", "DE": "Germany", "FR": "France", "US": "United States",
                  "SG": "Singapore", "JP": "Japan", "ES": "Spain"}  # fmt: skip
_LOCALES = {"zh": "zh_CN", "en": "en_US", "de": "de_DE", "fr": "fr_FR", "ja": "ja_JP", "es": "es_ES"}
_OPENED_AT = datetime(2024, 1, 8, 2, 0, tzinfo=UTC)
_STOCKED_AT = datetime(2026, 6, 20, 6, 30, tzinfo=UTC)


def _number(truth_id: str) -> int:
    return int("".join(character for character in truth_id if character.isdigit()))


def delivery_number(place: Location, order: Order, index: int, sequence: str = "OUT") -> str:
    """Number of a picking as Odoo prints it and as the warehouse tells the carrier desk: WH-CN/OUT/000421."""
    return f"{place.code}/{sequence}/{_number(order.order_id) * 10 + index:06d}"


def _refuse(status: int, name: str, message: str) -> Response:
    body = {"name": name, "message": message, "arguments": [message, status], "context": {}, "debug": ""}
    return JSONResponse(body, status_code=status)


class Twin:
    """Serves `POST /json/2/<model>/search_read` and `search_count`."""

    name = "odoo"

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self._world, self._dirt, self._credentials = world, dirt, credentials
        self._truth: list[Truth] = []
        self._records = Records(world.now)
        self.deleted: set[str] = set()
        self._differences = Differences(world, dirt)
        self._stores = stores_at(world, self.name)
        self._places = {
            key: place for key, place in world.locations.items() if place.kind in _KINDS
        } | self._stores
        self._stocked = {key: place for key, place in world.locations.items() if place.kind in _STOCKED}
        self._tills = Tills(
            world, dirt, self._differences, self._records, self._till_partner, self._lot_row_id
        )
        self._enter_places()
        for product in world.products.values():
            self._enter_product(product)
        for product in world.products.values():
            if product.components:
                self._enter_kit(product)
        self._enter_stock()
        self._guests = world.guests
        for order in world.orders.values():
            is_till_sale = is_sold_at(world, order, self.name)
            if is_till_sale:
                self._tills.sell(order)
            if is_till_sale or (order.channel not in _ELSEWHERE and not order.is_fulfilled_by_marketplace):
                self._enter_order(order)
        self._tills.close()

    def routes(self) -> Sequence[BaseRoute]:
        return [Route("/json/2/{model}/{method:str}", self._call, methods=["POST"])]

    def truth(self) -> Iterable[Truth]:
        return [*self._truth, *self._tills.truth]

    def env(self, base_url: str) -> dict[str, str]:
        return {
            "ORDERHUB_ODOO_URL": base_url,
            "ORDERHUB_ODOO_KEY": self._credentials.secret("odoo", "key", 40),
            "ORDERHUB_ODOO_DATABASE": DATABASE,
        }

    # --- what is in it --------------------------------------------------------------------------------------------

    def _enter_places(self) -> None:
        for row_id, name, usage in (
            (_SUPPLIERS, "Vendors", "supplier"),
            (_CUSTOMERS, "Customers", "customer"),
        ):
            self._records.put("stock.location", row_id, _OPENED_AT, _OPENED_AT, name=name, complete_name=f"Partners/{name}",
                      usage=usage, barcode=None, warehouse_id=None, active=True)  # fmt: skip
        for place in self._stocked.values():
            number = _number(place.location_id)
            name = self._place_name(place)
            # Who opens a store types its address here as for the till: in Han in China only.
            is_latin = place.kind == "store" and place.address.country != "CN"
            self._put_partner(number, _OPENED_AT, _OPENED_AT, place.address, f"place/{place.location_id}", name=name,
                              is_company=True, email=None, phone=None, vat=None, lang="en_US", ref=None,
                              script="latin" if is_latin else "both")  # fmt: skip
            self._records.put("stock.warehouse", number, _OPENED_AT, _OPENED_AT, name=name, code=place.code, active=True,
                      partner_id=self._records.link("res.partner", number))  # fmt: skip
            self._truth.append(Truth("location", f"odoo:warehouses:{number}", place.location_id))
            warehouse = self._records.link("stock.warehouse", number)
            for offset, zone, usage in _ZONES:
                path = f"{place.code}/{zone}" if zone else place.code
                self._records.put("stock.location", number * 10 + offset, _OPENED_AT, _OPENED_AT, name=zone or place.code,
                          complete_name=path, usage=usage, barcode=path.upper().replace("/", "-"), active=True,
                          warehouse_id=warehouse)  # fmt: skip
            for offset, title, code, sequence in _TYPES:
                self._records.put("stock.picking.type", number * 10 + offset, _OPENED_AT, _OPENED_AT, code=code,
                          name=title, sequence_code=sequence, warehouse_id=warehouse,
                          reservation_method="at_confirm")  # fmt: skip
            if place.location_id in self._stores:
                self._tills.open(place, _OPENED_AT)

    def _place_name(self, place: Location) -> str:
        if place.name_zh and self._dirt.chance(f"place/{place.location_id}/han", 0.5):
            return place.name_zh
        return self._dirt.text(place.name, f"place/{place.location_id}")

    def _put_partner(
        self,
        row_id: int,
        created_at: datetime,
        modified_at: datetime,
        address: Address | None,
        key: str,
        script: Script = "both",
        **fields: Any,
    ) -> Row:
        fields = {
            "parent_id": None,
            **dict.fromkeys(("street", "city", "state_id", "zip", "country_code")),
            **fields,
        }
        if address is not None:
            typed = self._dirt.address(address, key, script)
            fields |= {"street": typed.street, "city": typed.city, "zip": typed.postcode, "country_code": typed.country,
                       "state_id": [_number(key) % 900 + 1, f"{typed.region} ({typed.country})"]}  # fmt: skip
        return self._records.put(
            "res.partner", row_id, created_at, modified_at, street2=None, active=True, **fields
        )

    def _partner(self, customer: Customer, order: Order) -> int:
        """Id of the partner an order goes to: the customer, or a delivery address below it."""
        dirt, key = self._dirt, f"partner/{customer.customer_id}"
        row_id = 1000 + _number(customer.customer_id)
        known = self._records.find("res.partner", row_id)
        first_at = (
            order.placed_at if known is None else datetime.fromisoformat(known["create_date"] + "+00:00")
        )
        name = (
            dirt.company(customer, key, "both") if customer.is_company else dirt.name(customer, key, "both")
        )
        # A warehouse learns of an order, and of who it goes to, when goods are reserved for it; each parcel tells again.
        told_at = _written_at(order, order.reserved_at or order.placed_at)
        written_at = told_at
        if known is not None:
            written_at = max(told_at, datetime.fromisoformat(known["write_date"] + "+00:00"))
        self._put_partner(row_id, first_at, written_at, customer.address, key, name=name,
                          is_company=customer.is_company, email=dirt.email(customer, key, 0.25),
                          phone=dirt.phone(customer, key, 0.1), vat=dirt.tax_number(customer, key, 0.6),
                          lang=_LOCALES.get(customer.language, "en_US"), ref=None)  # fmt: skip
        if known is None:
            self._truth.append(Truth("customer", f"odoo:partners:{row_id}", customer.customer_id))
        if order.ship_to is None or order.ship_to == customer.address:
            return row_id
        other_id = 1_000_000 + _number(order.order_id)
        is_known = self._records.find("res.partner", other_id) is not None
        self._put_partner(other_id, order.placed_at, told_at, order.ship_to, f"ship-to/{order.order_id}",
                          name=name, is_company=False, email=None, phone=dirt.phone(customer, f"{key}/2", 0.3), vat=None,
                          lang=None, ref=None, parent_id=self._records.link("res.partner", row_id))  # fmt: skip
        if not is_known:
            self._truth.append(Truth("customer", f"odoo:partners:{other_id}", customer.customer_id))
        return other_id

    def _till_partner(self, order: Order) -> int | None:
        """Id of the partner a cashier finds or enters: at times a second one of the same customer."""
        if order.customer_id is None:
            return None
        dirt, customer = self._dirt, self._world.customers[order.customer_id]
        if order.ship_to is not None:
            return self._partner(customer, order)
        key, number = f"partner/{customer.customer_id}", _number(customer.customer_id)
        copies = dirt.copies(f"{key}/till", 0.06)
        row_id = 1000 + number
        if dirt.number(f"till/{order.order_id}/copy", 1, copies) == 2:
            key, row_id = f"{key}/till", 500_000 + number
        if self._records.find("res.partner", row_id) is None:
            is_asked = dirt.fraction(f"{key}/asked-address") < 0.5
            name = (
                dirt.company(customer, key, "both")
                if customer.is_company
                else dirt.name(customer, key, "both")
            )
            self._put_partner(row_id, order.placed_at, order.placed_at, customer.address if is_asked else None, key,
                              name=name, is_company=customer.is_company, email=dirt.email(customer, key, 0.25),
                              phone=dirt.phone(customer, key, 0.1), vat=dirt.tax_number(customer, key, 0.6),
                              lang=_LOCALES.get(customer.language, "en_US"), ref=None)  # fmt: skip
            self._truth.append(Truth("customer", f"odoo:partners:{row_id}", customer.customer_id))
        return row_id

    def _enter_product(self, product: Product) -> None:
        dirt, number = self._dirt, _number(product.product_id)
        for copy in range(dirt.copies(f"product/{product.product_id}", 0.03)):
            key = f"product/{product.product_id}/{copy}"
            self._put_product(5000 * copy + number, product, key, dirt.code(product.mpn, key, 0.08), True)
        # A code given to another product once its first holder was archived.
        if dirt.chance(f"product/{product.product_id}/recycled", 0.03):
            heir = self._world.products.get(f"P{number % len(self._world.products) + 1:04d}", product)
            self._put_product(20_000 + number, product, f"product/{product.product_id}/old", heir.mpn, False)

    def _put_product(
        self, row_id: int, product: Product, key: str, code: str | None, is_active: bool
    ) -> None:
        dirt = self._dirt
        origin = _COUNTRY_NAMES.get(product.origin_country)
        row = self._records.put("product.product", row_id, _OPENED_AT, _OPENED_AT + timedelta(days=row_id % 600),
                        name=dirt.title(product, key, "both"), default_code=code,
                        barcode=dirt.gtin(product, key, 0.12) if is_active else None,
                        categ_id=[_number(key) % 40 + 1, f"All / {product.category}"], weight=float(product.weight_kg),
                        volume=float(product.volume_m3), list_price=float(product.list_price),
                        standard_price=float(product.unit_cost), cost_currency_id=[7, product.currency],
                        uom_id=[1, "Units"], tracking="lot" if product.shelf_life_days else "none", active=is_active,
                        country_of_origin=None if origin is None or dirt.chance(f"{key}/origin", 0.3) else [50, origin],
                        )  # fmt: skip
        row["product_tmpl_id"] = [row_id, titled(row)]
        if dirt.is_invalid(key):
            row["weight"] = -row["weight"]
        self._truth.append(Truth("sku", f"odoo:products:{row_id}", product.product_id))

    def _enter_kit(self, product: Product) -> None:
        number = _number(product.product_id)
        kit = self._records.link("product.product", number)
        self._records.put("mrp.bom", number, _OPENED_AT, _OPENED_AT, product_tmpl_id=kit, product_id=kit, type="phantom",
                  product_qty=1.0, product_uom_id=[1, "Units"], active=True)  # fmt: skip
        for place, (component, quantity) in enumerate(product.components, start=1):
            self._records.put("mrp.bom.line", number * 100 + place, _OPENED_AT, _OPENED_AT, product_qty=float(quantity),
                      bom_id=[number, product.title], product_id=self._records.link("product.product", _number(component)),
                      product_uom_id=[1, "Units"])  # fmt: skip

    def _lot_row_id(self, lot_id: str) -> int:
        lot = self._world.lots[lot_id]
        batch = ord(lot_id[len(lot_id) - 4]) - ord("A")
        return _number(lot.product_id) * 10_000 + _number(lot.location_id) * 100 + batch

    def _enter_stock(self) -> None:
        used_at: dict[str, datetime] = {}
        for order in self._world.orders.values():
            for line in order.lines:
                if line.lot_id is not None:
                    used_at[line.lot_id] = max(order.updated_at, used_at.get(line.lot_id, order.updated_at))
        for lot in self._world.lots.values():
            if lot.location_id not in self._stocked:
                continue
            row_id, received = self._lot_row_id(lot.lot_id), _STOCKED_AT
            expires = None if lot.expires_on is None else written(_midnight(lot.expires_on))
            product = self._records.link("product.product", _number(lot.product_id))
            self._records.put("stock.lot", row_id, received, received, name=lot.lot_id, product_id=product,
                      expiration_date=expires)  # fmt: skip
            row = self._records.put("stock.quant", row_id, received, used_at.get(lot.lot_id, received), product_id=product,
                            location_id=self._zone(lot.location_id, _STOCK), lot_id=self._records.link("stock.lot", row_id),
                            quantity=float(lot.on_hand_qty), reserved_quantity=float(lot.reserved_qty),
                            product_uom_id=[1, "Units"])  # fmt: skip
            if self._dirt.is_invalid(f"quant/{lot.lot_id}"):
                row["reserved_quantity"] = -1.0

    def _zone(self, location_id: str, zone: int) -> list[Any] | None:
        return self._records.link("stock.location", _number(location_id) * 10 + zone)

    # --- deliveries -----------------------------------------------------------------------------------------------

    def _enter_order(self, order: Order) -> None:
        if order.customer_id is None or order.reserved_at is None or order.cancelled_at is not None:
            return
        here = [shipment for shipment in order.shipments if shipment.location_id in self._places]
        if order.shipped_with is not None and here:  # stands on the other order's delivery
            return
        partner: int | None = None
        if here:
            partner = self._partner(self._world.customers[order.customer_id], order)
        for shipment in here:
            self._enter_shipment(order, shipment, partner)
        self._enter_rest(order, partner)
        if order.channel is not Channel.POS:  # what comes back over the counter is a sale of the till
            self._enter_returns(order, here, partner)

    def _enter_shipment(self, order: Order, shipment: Shipment, partner: int | None) -> None:
        index = int(shipment.shipment_id.rpartition("-S")[2])
        steps = (
            (_PICK, _STOCK, _PACKING, order.reserved_at or order.placed_at, shipment.picked_at),
            (_PACK, _PACKING, _OUTPUT, shipment.picked_at, shipment.packed_at),
            (_OUT, _OUTPUT, None, shipment.packed_at, shipment.dispatched_at),
        )
        for kind, source, target, created_at, done_at in steps:
            self._put_picking(order, index, kind, shipment.location_id, source, target, created_at, done_at,
                              shipment.lines, partner, shipment, self._guests.get(order.order_id))  # fmt: skip

    def _enter_rest(self, order: Order, partner: int | None) -> None:
        """What is reserved and not sent yet waits as a pick."""
        sent: dict[int, int] = {}
        for shipment in order.shipments:
            for line_number, quantity in shipment.lines:
                sent[line_number] = sent.get(line_number, 0) + quantity
        rest = tuple(
            (line.line_number, line.quantity - sent.get(line.line_number, 0))
            for line in order.lines
            if line.quantity > sent.get(line.line_number, 0)
        )
        place = self._waiting_place(order)
        if not rest or place is None or order.customer_id is None or order.reserved_at is None:
            return
        if partner is None:
            partner = self._partner(self._world.customers[order.customer_id], order)
        self._put_picking(order, len(order.shipments) + 1, _PICK, place, _STOCK, _PACKING, order.reserved_at, None, rest,
                          partner, None)  # fmt: skip

    def _waiting_place(self, order: Order) -> str | None:
        for line in order.lines:
            if line.lot_id is not None:
                place = self._world.lots[line.lot_id].location_id
                return place if place in self._places else None
        return None

    def _put_picking(
        self,
        order: Order,
        index: int,
        kind: int,
        location_id: str,
        source: int,
        target: int | None,
        created_at: datetime,
        done_at: datetime | None,
        lines: Sequence[tuple[int, int]],
        partner: int | None,
        shipment: Shipment | None,
        guest: Order | None = None,
    ) -> None:
        dirt, place = self._dirt, self._places[location_id]
        row_id = _number(order.order_id) * 100 + index * 10 + kind
        _, _, code, sequence = _TYPES[kind - 1]
        name = delivery_number(place, order, index, sequence)
        is_out = kind == _OUT
        # The carrier's first scan closes what led to it; what waits became less with each parcel that went.
        modified_at = created_at if done_at is None else dirt.late(done_at, f"picking/{row_id}")
        modified_at = (
            _written_at(order, modified_at) if shipment is None else max(modified_at, shipment.first_scan_at)
        )
        parcels = [shipment] if guest is None else [shipment, *guest.shipments]
        origins = [self._origin(one) for one in (order, guest) if one is not None]
        self._records.put("stock.picking", row_id, created_at, modified_at, name=name,
                  origin=",".join(origin for origin in origins if origin) or None,
                  state="assigned" if done_at is None else "done", partner_id=self._records.link("res.partner", partner),
                  picking_type_id=self._records.link("stock.picking.type", _number(location_id) * 10 + kind),
                  picking_type_code=code, location_id=self._zone(location_id, source),
                  location_dest_id=self._records.link("stock.location", _CUSTOMERS) if target is None
                  else self._zone(location_id, target),
                  scheduled_date=written(created_at + timedelta(hours=4)),
                  date_deadline=None if order.promised_at is None else written(order.promised_at),
                  date_done=None if done_at is None else written(done_at),
                  carrier_id=_carrier(shipment) if is_out else None,
                  carrier_tracking_ref=self._tracking(shipment) if is_out else None,
                  shipping_weight=float(sum(p.weight_kg for p in parcels if p is not None)) if is_out else 0.0,
                  backorder_id=None, return_id=None)  # fmt: skip
        self._truth.append(Truth("order", f"odoo:pickings:{row_id}", order.order_id))
        for line_number, quantity in lines:
            self._put_move(order, row_id, line_number, quantity, created_at, modified_at, done_at)
        if guest is not None:
            self._truth.append(Truth("order", f"odoo:pickings:{row_id}", guest.order_id))
            for line_number, quantity in guest.shipments[0].lines:
                self._put_move(
                    guest, row_id, line_number, quantity, created_at, modified_at, done_at, offset=50
                )

    def _put_move(
        self,
        order: Order,
        picking_id: int,
        line_number: int,
        quantity: int,
        created_at: datetime,
        modified_at: datetime,
        done_at: datetime | None,
        returned_move_id: int | None = None,
        offset: int = 0,
    ) -> None:
        line = order.lines[line_number - 1]
        row_id = picking_id * 100 + offset + line_number
        picking = self._records.row("stock.picking", picking_id)
        product = self._records.link("product.product", _number(line.product_id))
        state = "assigned" if done_at is None else "done"
        shown = {
            "picking_id": self._records.link("stock.picking", picking_id),
            "product_id": product,
            "state": state,
        }
        row = self._records.put("stock.move", row_id, created_at, modified_at, sequence=10 * (offset + line_number),
                        product_uom_qty=float(quantity), quantity=float(quantity), product_uom=[1, "Units"],
                        location_id=picking["location_id"], location_dest_id=picking["location_dest_id"],
                        date=written(done_at or created_at), **shown,
                        origin_returned_move_id=None if returned_move_id is None
                        else [returned_move_id, f"{picking['name']}: {line.product_id}"])  # fmt: skip
        row["name"] = picking["name"]
        if self._dirt.is_invalid(f"move/{row_id}"):
            row["product_uom_qty"] = -float(quantity)
        lot_id = None
        if line.lot_id is not None and self._world.lots[line.lot_id].location_id in self._places:
            lot_id = self._lot_row_id(line.lot_id)
        self._records.put("stock.move.line", row_id, created_at, modified_at, move_id=[row_id, picking["name"]],
                  lot_id=self._records.link("stock.lot", lot_id), quantity=float(quantity), product_uom_id=[1, "Units"],
                  date=written(done_at or created_at), **shown)  # fmt: skip

    def differences(self) -> Iterable[Planted]:
        """What the warehouse received less than came back according to the shop, and what tills took otherwise."""
        return self._differences.listed

    def _received(self, order: Order, returned: Return) -> int:
        """Units the warehouse counted in: at times not all the shop refunded, at times none."""
        if order.channel not in _SHOPS_COUNT_RETURNS:  # nobody else tells how many units came back
            return returned.quantity
        cause = self._differences.draw("receipt", order, returned.return_id)
        each = returned.refund_amount / returned.quantity
        if cause is Cause.MISSING:
            self._differences.plant("receipt", order, cause, returned.refund_amount, returned.refunded_at)
            return 0
        if cause is Cause.PARTIAL_RETURN and returned.quantity > 1:
            unit = Decimal(1).scaleb(-words.MINOR_UNIT_DIGITS[order.currency])
            self._differences.plant("receipt", order, cause, each.quantize(unit))
            return returned.quantity - 1
        return returned.quantity

    def _enter_returns(self, order: Order, here: Sequence[Shipment], partner: int | None) -> None:
        entered: list[Return] = []
        for index, returned in enumerate(order.returns):
            sent = next((s for s in here if returned.line_number in dict(s.lines)), None)
            if sent is None:
                continue
            quantity = self._received(order, returned)
            if quantity == 0:
                continue
            out_id = _number(order.order_id) * 100 + int(sent.shipment_id.rpartition("-S")[2]) * 10 + _OUT
            out, place = self._records.row("stock.picking", out_id), self._places[sent.location_id]
            row_id = _number(order.order_id) * 100 + 80 + index
            number = _number(sent.location_id)
            # Its worth is settled with the refund.
            self._records.put("stock.picking", row_id, returned.received_at, returned.refunded_at,
                      name=f"{place.code}/IN/{_number(order.order_id) * 10 + index:06d}", state="done",
                      origin=f"Return of {out['name']}", partner_id=self._records.link("res.partner", partner),
                      picking_type_id=self._records.link("stock.picking.type", number * 10 + _IN), picking_type_code="incoming",
                      location_id=self._records.link("stock.location", _CUSTOMERS),
                      location_dest_id=self._zone(sent.location_id, _INPUT),
                      scheduled_date=written(returned.received_at), date_deadline=None,
                      date_done=written(returned.received_at), carrier_id=None, carrier_tracking_ref=None,
                      shipping_weight=0.0, backorder_id=None, return_id=[out_id, out["name"]])  # fmt: skip
            self._put_move(order, row_id, returned.line_number, quantity, returned.received_at,
                           returned.refunded_at, returned.received_at, out_id * 100 + returned.line_number)  # fmt: skip
            entered.append(returned)
        if order.channel not in _DESK_COUNTS_RETURNS:
            return
        desk = replace(self._dirt, system="zendesk")
        told = [each for each in order.returns if tells_return(desk, order, each, self._world.now)]
        silent = sum((each.refund_amount for each in entered if each not in told), Decimal(0))
        if told and silent and not order.is_test:
            self._differences.plant("receipt", order, Cause.MISSING, -silent)

    def _origin(self, order: Order) -> str | None:
        dirt, key = self._dirt, f"origin/{order.order_id}"
        if order.channel is Channel.POS:
            return sale_name(order)
        if dirt.chance(f"{key}/missing", 0.02):
            return None
        shop = dirt.order_number(order.number, f"{key}/shop")
        if order.channel is Channel.SHOPIFY:
            others = (shop.removeprefix("#"), f"Shopify {shop}", f"SHOPIFY {shop}")
            shop = dirt.spelling(f"{key}/shop", shop, others)
        elif order.channel in PREFIXES:
            one, other = PREFIXES[order.channel]
            shop = dirt.spelling(f"{key}/shop", shop, (f"{one} {shop}", f"{other}: {shop}"))
        # A business order reaches the warehouse through the ERP alone.
        is_direct = order.channel is Channel.B2B
        if order.erp_number is None or (not is_direct and dirt.chance(f"{key}/shop-number", 0.1)):
            return shop
        sale = dirt.order_number(order.erp_number, f"{key}/sale")
        if dirt.chance(f"{key}/both", 0.08):
            return f"{sale} / {shop}"
        return sale.lower() if dirt.chance(f"{key}/case", 0.04) else sale

    def _tracking(self, shipment: Shipment | None) -> str | None:
        if shipment is None or self._dirt.chance(f"tracking/{shipment.shipment_id}", 0.04):
            return None
        return shipment.tracking_number

    # --- the protocol ---------------------------------------------------------------------------------------------

    async def _call(self, request: Request) -> Response:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self._credentials.accepts("odoo", "key", key, 40):
            return _refuse(401, "werkzeug.exceptions.Unauthorized", "Invalid apikey")
        if request.headers.get("x-odoo-database", DATABASE) != DATABASE:
            return _refuse(404, "werkzeug.exceptions.NotFound", "no such database on this server")
        model, method = request.path_params["model"], request.path_params["method"]
        if method not in ("search_read", "search_count"):
            return _refuse(404, "werkzeug.exceptions.NotFound", f"the method {model}.{method} does not exist")
        if model not in self._records:
            return _refuse(404, "werkzeug.exceptions.NotFound", f"the model {model!r} does not exist")
        try:
            asked = json.loads(await request.body())
            if method == "search_count":
                asked["fields"] = ["id"]
            rows = self._records.search(model, asked, self.deleted)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return _refuse(422, "odoo.exceptions.UserError", f"Invalid arguments for {model}: {error}")
        answer: Any = rows if method == "search_read" else len(rows)
        return JSONResponse(answer, media_type="application/json; charset=utf-8")


def _written_at(order: Order, at: datetime) -> datetime:
    """When what stands on a whole order was last written: with each of its parcels, `at` the earliest."""
    return max((at, *(shipment.first_scan_at for shipment in order.shipments)))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _carrier(shipment: Shipment | None) -> list[Any] | None:
    if shipment is None or shipment.carrier not in CARRIER_NAMES:
        return None
    return [list(CARRIER_NAMES).index(shipment.carrier) + 1, CARRIER_NAMES[shipment.carrier]]
