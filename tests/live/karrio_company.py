"""A small transport desk in a running karrio, set up and changed through karrio's own REST API.

`python karrio_company.py <root address> seed|change|tell|ship [reference]`, the API token on standard input; the answer is JSON
on standard output. Labels are made by karrio's generic carrier, which asks nobody.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import httpx

CARRIER = "sf_express"
# Reference, order number, recipient, city, weights of the parcels with their unit.
SHIPMENTS = (
    ("WH-CN/OUT/000421", "", "Li Na", "Shanghai", ((1.2, "KG"),)),
    ("", "PO-77812", "Anna Kühn", "Hamburg", ((0.4, "KG"), (0.6, "KG"))),
    ("SO26-1003 / PO-77813", "", "Jane Doe", "London", ((3.5, "LB"),)),
)
_COUNTRY = {"Shanghai": "CN", "Hamburg": "DE", "London": "GB"}
# Service, price and days in transit, as the carrier's price list has them.
SERVICES = (("standard_service", 12.5, 3), ("express_service", 30.0, 1))
_FUEL = {"id": "fuel", "name": "Fuel", "amount": 10, "surcharge_type": "percentage", "active": True}
_PRICE_LIST = """
mutation($input: CreateRateSheetMutationInput!) {
  create_rate_sheet(input: $input) { rate_sheet { id } errors { field messages } }
}
"""


@dataclass
class Desk:
    """One running karrio at `url`, its root."""

    url: str
    token: str

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Run one request; the answer's body.

        Raises:
            httpx.HTTPStatusError: karrio refused.
        """
        headers = {"Authorization": f"Token {self.token}"}
        answer = httpx.request(method, f"{self.url}/{path}", json=body, headers=headers, timeout=60)
        answer.raise_for_status()
        return answer.json()

    def seed(self) -> list[str]:
        """Connect the carrier with its price list and buy the labels of `SHIPMENTS`; their ids."""
        credentials = {
            "display_name": "SF Express",
            "custom_carrier_name": CARRIER,
            "account_country_code": "CN",
        }
        connection = {"carrier_name": "generic", "carrier_id": CARRIER, "credentials": credentials}
        account = self.ask("POST", "v1/connections", {**connection, "config": {}, "active": True})
        self._price(account["id"])
        return [self.ship(*shipment)["id"] for shipment in SHIPMENTS]

    def _price(self, account: str) -> None:
        services = [
            {
                "service_name": name,
                "service_code": name,
                "currency": "CNY",
                "transit_days": days,
                "zone_ids": ["all"],
                "surcharge_ids": [_FUEL["id"]],
            }
            for name, _, days in SERVICES
        ]
        prices = [
            {"service_id": f"temp-{number}", "zone_id": "all", "rate": price}
            for number, (_, price, _) in enumerate(SERVICES)
        ]
        sheet = {
            "name": "Prices",
            "carrier_name": "generic",
            "carriers": [account],
            "zones": [{"id": "all", "label": "All"}],
            "surcharges": [_FUEL],
            "services": services,
            "service_rates": prices,
        }
        told = self.ask("POST", "graphql", {"query": _PRICE_LIST, "variables": {"input": sheet}})
        if told["data"]["create_rate_sheet"]["errors"]:
            raise ValueError(f"karrio took no price list: {told}")

    def change(self) -> dict[str, str]:
        """Cancel one label and buy another; the ids of both."""
        [cancelled] = [
            row for row in self.tell() if row["reference"] == SHIPMENTS[0][0] and row["status"] == "created"
        ]
        self.ask("POST", f"v1/shipments/{cancelled['id']}/cancel", {})
        return {"cancelled": cancelled["id"], "new": self.ship(*SHIPMENTS[0])["id"]}

    def tell(self) -> list[dict[str, Any]]:
        """All shipments, as karrio itself shows them."""
        rows: list[dict[str, Any]] = self.ask("GET", "v1/shipments?limit=100")["results"]
        return rows

    def ship(
        self,
        reference: str,
        order: str = "",
        recipient: str = "王小明",
        city: str = "Shanghai",
        parcels: Any = ((1.2, "KG"),),
    ) -> Any:
        """Have one shipment quoted and buy the label of the cheapest rate; the shipment."""
        size = {"length": 20, "width": 10, "height": 10, "dimension_unit": "CM"}
        country = _COUNTRY[city]
        quoted = self.ask(
            "POST",
            "v1/shipments",
            {
                "carrier_ids": [CARRIER],
                "reference": reference,
                "order_id": order,
                "shipper": _address("Luna Botanica", "1 Nanjing Road", "Shanghai", "200001", "CN"),
                "recipient": _address(recipient, "5 High Street", city, "20095", country),
                "parcels": [
                    {"weight": weight, "weight_unit": unit, "packaging_type": "your_packaging", **size}
                    for weight, unit in parcels
                ],
                "metadata": {"distance_km": 12.5},
            },
        )
        cheapest = min(quoted["rates"], key=lambda rate: float(rate["total_charge"]))
        return self.ask("POST", f"v1/shipments/{quoted['id']}/purchase", {"selected_rate_id": cheapest["id"]})


def _address(name: str, street: str, city: str, postcode: str, country: str) -> dict[str, str]:
    return {
        "person_name": name,
        "address_line1": street,
        "city": city,
        "postal_code": postcode,
        "country_code": country,
    }


if __name__ == "__main__":
    desk = Desk(sys.argv[1], sys.stdin.read())
    print(json.dumps(getattr(desk, sys.argv[2])(*sys.argv[3:])))
