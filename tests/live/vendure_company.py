"""A small shop in a running Vendure, set up and changed through Vendure's own shop and admin APIs.

`python vendure_company.py <root address> seed|change|tell`, the superadmin's password on standard input; the answer is JSON
on standard output. Amounts are Vendure's own, in hundredths.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import Any

import httpx

COUNTRIES = (("CN", "China"), ("DE", "Germany"), ("FR", "France"), ("NL", "Netherlands"))
PRODUCTS = (
    ("Rose Water", (("RW-100", "100 ml", 1490, 80), ("RW-250", "250 ml", 2990, 40))),
    ("Clay Mask", (("CM-50", "50 g", 1850, 60),)),
    ("Bergamot Soap", (("BS-1", "", 690, 300),)),
    # The books of tryton_company.py sell it too, under the same code, and to a buyer of ours.
    ("Night Cream", (("CRM-050", "50 ml", 4850, 25),)),
)
COUPON = "SPRING10"
# Buyer's e-mail address, telephone, first name, last name, street, postcode, city, country.
BUYERS = {
    "anna": ("anna.kuehn@mail.example", None, "Anna", "Kühn", "Lindenweg 4", "20095", "Hamburg", "DE"),
    "jules": ("jules.lefevre@mail.example", None, "Jules", "Lefèvre", "12 rue des Archives", "75004", "Paris", "FR"),
    "sanne": ("sanne.devries@mail.example", None, "Sanne", "de Vries", "Keizersgracht 7", "1015", "Amsterdam", "NL"),
    "wang": ("wang.xm@mail.example", "+86 138 0013 8000", "小明", "王", "南京东路100号", "200001", "上海", "CN"),
}  # fmt: skip
ORDERS = (
    ("anna", (("RW-100", 2), ("BS-1", 3)), True, "Delivered"),
    ("jules", (("CM-50", 1),), False, "Shipped"),
    ("sanne", (("RW-250", 1), ("RW-100", 1)), False, "PaymentSettled"),
    ("anna", (("BS-1", 10),), True, "Refunded"),
    ("jules", (("RW-250", 2),), False, "Cancelled"),
    ("wang", (("CRM-050", 1),), False, "PaymentSettled"),
)

_ORDER = "... on Order { id code state lines { id quantity } payments { id amount } }"
_ERROR = "... on ErrorResult { errorCode message }"


class ShopError(Exception):
    """Vendure answered with an error."""


@dataclass
class Shop:
    """One running Vendure at `url`, its root; `password` is the superadmin's."""

    url: str
    password: str
    tokens: dict[str, str] = field(default_factory=dict)  # of the sessions, by API

    def admin(self, document: str, **variables: Any) -> Any:
        """Run an operation of the admin API; the value of its only field."""
        if "admin" not in self.tokens:
            login = f'mutation($p: String!) {{ login(username: "superadmin", password: $p) {{ __typename {_ERROR} }} }}'
            self._call("admin", login, {"p": self.password})
        return self._call("admin", document, variables)

    def _call(self, api: str, document: str, variables: dict[str, Any]) -> Any:
        token = self.tokens.get(api)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        path = "admin" if api == "admin" else "shop"
        answer = httpx.post(
            f"{self.url}/{path}-api",
            json={"query": document, "variables": variables},
            headers=headers,
            timeout=60,
        )
        if answer.headers.get("vendure-auth-token"):
            self.tokens[api] = answer.headers["vendure-auth-token"]
        body = answer.json()
        if body.get("errors"):
            raise ShopError(f"{document.split('{')[1].strip()}: {body['errors']}")
        [value] = body["data"].values()
        if isinstance(value, dict) and "errorCode" in value:
            raise ShopError(f"{value['errorCode']}: {value['message']}")
        return value

    def seed(self) -> None:
        """Set the shop up (zone, tax, shipping, payment, products) and place the orders of `ORDERS`."""
        self._set_up()
        for buyer, lines, has_coupon, state in ORDERS:
            self.place(buyer, lines, has_coupon, state)

    def change(self) -> dict[str, Any]:
        """Deliver the shipped order, refund part of the delivered one, place an order, and edit a customer.

        Answers the codes of the orders touched, and of the new one.
        """
        orders, customers = (self.tell()[name] for name in ("orders", "customers"))
        [shipped] = [order for order in orders if order["state"] == "Shipped"]
        [delivered] = [order for order in orders if order["state"] == "Delivered"]
        [fulfilment] = shipped["fulfillments"]
        self._move(fulfilment["id"], "Delivered")
        self._refund(delivered, 500)
        code = self.place("sanne", (("CM-50", 2),), False, "PaymentSettled")
        [customer] = [row for row in customers if row["emailAddress"] == BUYERS["jules"][0]]
        self.admin(
            "mutation($input: UpdateCustomerInput!) { updateCustomer(input: $input) { ... on Customer { id } } }",
            input={"id": customer["id"], "phoneNumber": "+33 1 42 68 53 00"},
        )
        return {"orders": [shipped["code"], delivered["code"], code], "new": code}

    def tell(self) -> dict[str, list[dict[str, Any]]]:
        """Orders past the checkout, customers and variants, as Vendure itself shows them."""
        asked = {
            "orders": "orders(options: { filter: { active: { eq: false } } }) { items { id code state updatedAt "
            "currencyCode subTotal shipping total totalWithTax customer { emailAddress } lines { id quantity "
            "orderPlacedQuantity unitPrice } payments { id amount state refunds { id total state } } "
            "fulfillments { id state trackingCode } } }",
            "customers": "customers { items { id emailAddress updatedAt } }",
            "variants": "productVariants { items { id sku stockLevels { stockOnHand stockAllocated } } }",
        }
        return {name: self.admin(f"{{ {document} }}")["items"] for name, document in asked.items()}

    def place(self, buyer: str, lines: Any, has_coupon: bool, state: str) -> str:
        """Place an order through the shop API as a guest and walk it to a state; its code."""
        email, phone, first, last, street, postcode, city, country = BUYERS[buyer]
        self.tokens.pop("shop", None)  # another visitor
        for sku, quantity in lines:
            self._shop(
                f"mutation($v: ID!, $q: Int!) {{ addItemToOrder(productVariantId: $v, quantity: $q) {{ {_ORDER} {_ERROR} }} }}",
                v=self._variant(sku),
                q=quantity,
            )
        self._shop(
            f"mutation($input: CreateCustomerInput!) {{ setCustomerForOrder(input: $input) {{ {_ORDER} {_ERROR} }} }}",
            input={"firstName": first, "lastName": last, "emailAddress": email, "phoneNumber": phone},
        )
        self._shop(
            f"mutation($input: CreateAddressInput!) {{ setOrderShippingAddress(input: $input) {{ {_ORDER} {_ERROR} }} }}",
            input={
                "fullName": f"{first} {last}",
                "streetLine1": street,
                "postalCode": postcode,
                "city": city,
                "countryCode": country,
            },
        )
        if has_coupon:
            self._shop(
                f"mutation($c: String!) {{ applyCouponCode(couponCode: $c) {{ {_ORDER} {_ERROR} }} }}",
                c=COUPON,
            )
        [method] = self._shop("{ eligibleShippingMethods { id } }")
        self._shop(
            f"mutation($m: [ID!]!) {{ setOrderShippingMethod(shippingMethodId: $m) {{ {_ORDER} {_ERROR} }} }}",
            m=[method["id"]],
        )
        self._shop(
            f'mutation {{ transitionOrderToState(state: "ArrangingPayment") {{ {_ORDER} {_ERROR} }} }}'
        )
        order = self._shop(
            f'mutation {{ addPaymentToOrder(input: {{ method: "card", metadata: {{}} }}) {{ {_ORDER} {_ERROR} }} }}'
        )
        self._walk(order, state)
        code: str = order["code"]
        return code

    def _shop(self, document: str, **variables: Any) -> Any:
        return self._call("shop", document, variables)

    def _variant(self, sku: str) -> str:
        [variant] = [row for row in self.tell()["variants"] if row["sku"] == sku]
        found: str = variant["id"]
        return found

    def _walk(self, order: dict[str, Any], state: str) -> None:
        if state == "Cancelled":
            self.admin(
                f'mutation($id: ID!) {{ cancelOrder(input: {{ orderId: $id, reason: "changed mind" }}) {{ {_ORDER} {_ERROR} }} }}',
                id=order["id"],
            )
        elif state == "Refunded":
            self._refund(order, order["payments"][0]["amount"])
        elif state in ("Shipped", "Delivered"):
            lines = [{"orderLineId": line["id"], "quantity": line["quantity"]} for line in order["lines"]]
            arguments = [
                {"name": "method", "value": "DHL"},
                {"name": "trackingCode", "value": f"0034{order['id']:0>10}"},
            ]
            fulfilment = self.admin(
                "mutation($input: FulfillOrderInput!) { addFulfillmentToOrder(input: $input) "
                f"{{ ... on Fulfillment {{ id }} {_ERROR} }} }}",
                input={"lines": lines, "handler": {"code": "manual-fulfillment", "arguments": arguments}},
            )
            self._move(fulfilment["id"], "Shipped")
            if state == "Delivered":
                self._move(fulfilment["id"], "Delivered")

    def _move(self, fulfilment_id: str, state: str) -> None:
        self.admin(
            f"mutation($id: ID!, $s: String!) {{ transitionFulfillmentToState(id: $id, state: $s) {{ ... on Fulfillment {{ id }} {_ERROR} }} }}",
            id=fulfilment_id,
            s=state,
        )

    def _refund(self, order: dict[str, Any], amount: int) -> None:
        lines = [{"orderLineId": order["lines"][0]["id"], "quantity": 1}]
        refund = self.admin(
            f"mutation($input: RefundOrderInput!) {{ refundOrder(input: $input) {{ ... on Refund {{ id state }} {_ERROR} }} }}",
            input={
                "lines": lines,
                "shipping": 0,
                "adjustment": 0,
                "amount": amount,
                "paymentId": order["payments"][0]["id"],
                "reason": "damaged",
            },
        )
        if refund["state"] == "Pending":
            self.admin(
                f'mutation($id: ID!) {{ settleRefund(input: {{ id: $id, transactionId: "T1" }}) {{ ... on Refund {{ id }} {_ERROR} }} }}',
                id=refund["id"],
            )

    def _set_up(self) -> None:
        def translated(name: str, **more: str) -> list[dict[str, str]]:
            return [{"languageCode": "en", "name": name, **more}]

        def create(kind: str, fields: dict[str, Any], operation: str | None = None) -> str:
            name = operation or f"create{kind}"
            made = self.admin(
                f"mutation($input: Create{kind}Input!) {{ {name}(input: $input) {{ ... on {kind} {{ id }} }} }}",
                input=fields,
            )
            made_id: str = made["id"]
            return made_id

        members = [
            create("Country", {"code": code, "enabled": True, "translations": translated(name)})
            for code, name in COUNTRIES
        ]
        zone = create("Zone", {"name": "Europe", "memberIds": members})
        category = create("TaxCategory", {"name": "Standard", "isDefault": True})
        create(
            "TaxRate",
            {"name": "VAT", "enabled": True, "value": 19.0, "categoryId": category, "zoneId": zone},
        )
        channel = self.admin("{ activeChannel { id } }")
        self.admin(
            "mutation($input: UpdateChannelInput!) { updateChannel(input: $input) { ... on Channel { id } } }",
            input={"id": channel["id"], "defaultCurrencyCode": "EUR", "availableCurrencyCodes": ["EUR"],
                   "pricesIncludeTax": False, "defaultTaxZoneId": zone, "defaultShippingZoneId": zone},
        )  # fmt: skip
        create("ShippingMethod", {
            "code": "parcel", "fulfillmentHandler": "manual-fulfillment",
            "translations": translated("Parcel", description=""),
            "checker": _operation("default-shipping-eligibility-checker", orderMinimum="0"),
            "calculator": _operation("default-shipping-calculator", rate="490", includesTax="exclude", taxRate="19"),
        })  # fmt: skip
        create("PaymentMethod", {
            "code": "card", "enabled": True, "translations": translated("Card", description=""),
            "handler": _operation("dummy-payment-handler", automaticSettle="true"),
        })  # fmt: skip
        create("Promotion", {
            "enabled": True, "couponCode": COUPON, "translations": translated("Spring"), "conditions": [],
            "actions": [_operation("order_percentage_discount", discount="10")],
        })  # fmt: skip
        for number, (name, variants) in enumerate(PRODUCTS, start=1):
            self._create_product(number, name, variants, category, translated)

    def _create_product(self, number: int, name: str, variants: Any, category: str, translated: Any) -> None:
        product = self.admin(
            "mutation($input: CreateProductInput!) { createProduct(input: $input) { id } }",
            input={
                "enabled": True,
                "translations": translated(name, slug=f"product-{number}", description=""),
            },
        )
        options: dict[str, str] = {}
        if len(variants) > 1:
            group = self.admin(
                "mutation($input: CreateProductOptionGroupInput!) { createProductOptionGroup(input: $input) "
                "{ id options { id code } } }",
                input={"code": f"size-{number}", "translations": translated("size"),
                       "options": [{"code": sku, "translations": translated(size)} for sku, size, _, _ in variants]},
            )  # fmt: skip
            options = {option["code"]: option["id"] for option in group["options"]}
            self.admin(
                "mutation($p: ID!, $g: ID!) { addOptionGroupToProduct(productId: $p, optionGroupId: $g) { id } }",
                p=product["id"],
                g=group["id"],
            )
        self.admin(
            "mutation($input: [CreateProductVariantInput!]!) { createProductVariants(input: $input) { id } }",
            input=[
                {"productId": product["id"], "sku": sku, "price": price, "taxCategoryId": category,
                 "translations": translated(f"{name} {size}".strip()), "stockOnHand": stock,
                 "trackInventory": "TRUE", "optionIds": [options[sku]] if options else []}
                for sku, size, price, stock in variants
            ],
        )  # fmt: skip


def _operation(code: str, **arguments: str) -> dict[str, Any]:
    return {"code": code, "arguments": [{"name": name, "value": value} for name, value in arguments.items()]}


if __name__ == "__main__":
    shop = Shop(sys.argv[1], sys.stdin.read())
    print(json.dumps({"seed": shop.seed, "change": shop.change, "tell": shop.tell}[sys.argv[2]]()))
