"""The products, their codes and their prices."""

from __future__ import annotations

import random
from decimal import Decimal

from connectors.sandbox import vocabulary as words
from connectors.sandbox.world import Product


def products(seed: int) -> dict[str, Product]:
    found: dict[str, Product] = {}
    ids: dict[tuple[int, int], str] = {}
    prefixes = [
        f"69{random.Random(f'{seed}/brand/{b}').randrange(10, 100)}{b}{7 - b}"
        for b in range(len(words.BRANDS))
    ]
    for line_index, line in enumerate(words.PRODUCT_LINES):
        base = Decimal(line.sizes[0][0]) * (1000 if line.sizes[0][1] in ("LTR", "KGM") else 1)
        for size_index, (quantity, uom, pack) in enumerate(line.sizes):
            product_id = f"P{len(found) + 1:04d}"
            rng = random.Random(f"{seed}/product/{product_id}")
            content = Decimal(quantity) * (1000 if uom in ("LTR", "KGM") else 1)
            factor = Decimal(str(round(float(content / base) ** 0.8 * pack**0.95, 4)))
            price = (line.price * factor).quantize(Decimal(1)) if line.price > 40 else line.price * factor
            cost_share = (
                Decimal(rng.randrange(28, 45) if not line.cold_chain else rng.randrange(52, 68)) / 100
            )
            brand, brand_zh = words.BRANDS[line.brand]
            body = (
                ("1" if pack >= 4 else "0")
                + prefixes[line.brand]
                + f"{line_index + 10:02d}{size_index}{rng.randrange(1000):03d}"
            )
            total_ml = content * pack
            initials = "".join(word[0] for word in brand.split())
            found[product_id] = Product(
                product_id=product_id,
                title=f"{brand} {line.title} {_size_text(quantity, uom, pack, words.SIZE_EN, ' × ')}",
                title_zh=f"{brand_zh} {line.title_zh} {_size_text(quantity, uom, pack, words.SIZE_ZH, '×')}",
                brand=brand,
                mpn=f"{initials}{line_index + 1:02d}-{quantity}{uom[0]}{'' if pack == 1 else f'X{pack}'}",
                gtin14=body + gs1_check_digit(body),
                category=line.category,
                size_qty=Decimal(quantity),
                size_uom=uom,
                pack_qty=pack,
                list_price=price.quantize(Decimal("0.01")),
                unit_cost=(price * cost_share).quantize(Decimal("0.01")),
                currency="CNY",
                weight_kg=(total_ml * Decimal("1.12") / 1000 + Decimal("0.03")).quantize(Decimal("0.001")),
                volume_m3=(total_ml * Decimal("1.7") / 1_000_000).quantize(Decimal("0.000001")),
                needs_cold_chain=line.cold_chain,
                origin_country=line.origin,
                shelf_life_days=line.shelf_life_days,
            )
            ids[line_index, size_index] = product_id
    for number, (title, title_zh, brand_index, category, parts) in enumerate(words.KITS, start=1):
        product_id = f"P{len(found) + 1:04d}"
        components = tuple((ids[line, size], count) for line, size, count in parts)
        brand, brand_zh = words.BRANDS[brand_index]
        body = (
            "0"
            + prefixes[brand_index]
            + f"99{number}{random.Random(f'{seed}/kit/{number}').randrange(1000):03d}"
        )
        inside = [(found[c], n) for c, n in components]
        found[product_id] = Product(
            product_id=product_id,
            title=f"{brand} {title}",
            title_zh=f"{brand_zh} {title_zh}",
            brand=brand,
            mpn=f"KIT-{number:03d}",
            gtin14=body + gs1_check_digit(body),
            category=category,
            size_qty=Decimal(sum(n for _, n in inside)),
            size_uom="C62",
            pack_qty=1,
            list_price=(sum((p.list_price * n for p, n in inside), Decimal(0)) * Decimal("0.85")).quantize(
                Decimal("0.01")
            ),
            unit_cost=sum((p.unit_cost * n for p, n in inside), Decimal(0)),
            currency="CNY",
            weight_kg=sum((p.weight_kg * n for p, n in inside), Decimal("0.080")),
            volume_m3=sum((p.volume_m3 * n for p, n in inside), Decimal("0.000400")),
            needs_cold_chain=False,
            origin_country=inside[0][0].origin_country,
            shelf_life_days=min(p.shelf_life_days or 10_000 for p, _ in inside),
            components=components,
        )
    return found


def _size_text(quantity: str, uom: str, pack: int, names: dict[str, str], times: str) -> str:
    size = f"{quantity}{'' if names is words.SIZE_ZH else ' '}{names[uom]}"
    return size if pack == 1 else f"{pack}{times}{size}"


def price_in(product: Product, currency: str) -> Decimal:
    """Return the list price of one unit in a currency, tax excluded, in whole minor units."""
    if currency == product.currency:
        return product.list_price
    price = product.list_price * words.PRICE_LIST_RATE[currency]
    if words.MINOR_UNIT_DIGITS[currency] == 0:
        return price.quantize(Decimal("1E1")).quantize(Decimal(1))
    return price.quantize(Decimal("0.1")) - Decimal("0.01")


def minor_unit(currency: str) -> Decimal:
    """Return the smallest amount of a currency the company uses, such as Decimal("0.01")."""
    return Decimal(1).scaleb(-words.MINOR_UNIT_DIGITS[currency])


def gs1_check_digit(body: str) -> str:
    """Return the check digit of a GTIN, GLN or SSCC without one.

    Source: GS1 General Specifications 7.9.
    """
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(body)))
    return str(-total % 10)
