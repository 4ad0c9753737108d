"""Which units of measure may be split, and which quantities make sense in a unit.

Source: UN/ECE Recommendation 20; the units here are measures of mass, volume, length and area. Everything else is
counted, and counted things come whole.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Decimal

from oms_core.fulfilment.errors import RequestError

DIVISIBLE = frozenset(
    {
        "KGM", "GRM", "MGM", "TNE", "LBR", "ONZ",  # mass
        "LTR", "MLT", "CLT", "DLT", "MTQ", "DMQ", "CMQ", "GLL", "OZA",  # volume
        "MTR", "CMT", "MMT", "KMT", "FOT", "INH", "YRD",  # length
        "MTK", "CMK", "FTK",  # area
    }
)  # fmt: skip
SMALLEST = Decimal("0.000001")  # numeric(18, 6) holds no finer step
LARGEST = Decimal("999999999999")


def check_quantity(
    qty: Decimal, uom: str, *, asked_uom: str | None = None, may_be_zero: bool = False
) -> None:
    """Refuse a quantity that makes no sense.

    Args:
        qty: in `asked_uom`.
        uom: unit the SKU is kept in, UN/ECE Rec 20.
        asked_uom: unit of the quantity; None: the one it is kept in.
        may_be_zero: whether nothing is an answer, as in a count.

    Raises:
        RequestError: another unit, zero or less, too large or too fine, or a fraction of what is counted.
    """
    if asked_uom is not None and asked_uom != uom:
        raise RequestError(
            "other-unit", f"the SKU is kept in {uom}, not in {asked_uom}: say the quantity in {uom}"
        )
    if not qty.is_finite() or abs(qty) > LARGEST:
        raise RequestError("bad-quantity", f"quantity {qty} is not one that can be kept: at most {LARGEST}")
    if qty < 0 or (qty == 0 and not may_be_zero):
        raise RequestError("bad-quantity", f"quantity {qty} is not above zero")
    if qty % 1 and uom not in DIVISIBLE:
        raise RequestError("fractional-quantity", f"quantity {qty}: {uom} is counted and comes whole")
    if qty % SMALLEST:
        raise RequestError("bad-quantity", f"quantity {qty} is finer than {SMALLEST}, the smallest step kept")


def usable(qty: Decimal, uom: str) -> Decimal:
    """What of a quantity can be promised: whole pieces of what is counted, never less than nothing."""
    qty = max(qty, Decimal(0))
    return qty if uom in DIVISIBLE else qty.to_integral_value(ROUND_FLOOR)


def plain_quantity(qty: Decimal) -> str:
    """A quantity as text, as short as it is exact: 2.500000 is 2.5, and 2E+1 is 20."""
    return f"{qty.normalize():f}"
