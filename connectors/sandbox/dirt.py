"""What systems and the people who type into them do to the truth. Pure in (seed, system, key).

A twin owns one `Dirt(seed, system)` and calls it with a key that names the field it writes, such as
`dirt.phone(customer, f"customer/{customer.customer_id}")`: the same record is dirty in the same way on every
pull, two systems are dirty in different ways, and the number of records a system holds changes nothing.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, TypeVar

from connectors.sandbox import vocabulary as words
from connectors.sandbox.world import Address, Customer, Product

Level = Literal["none", "normal", "heavy"]
Script = Literal["latin", "han", "both"]
T = TypeVar("T")

# What a level does to the odds of each mishap: odds, not probabilities, so that what is often missing stays present at times.
_ODDS: dict[str, float] = {"none": 0.0, "normal": 1.0, "heavy": 3.0}
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss"})
_BARE = str.maketrans({"ß": "ss", "ı": "i", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"})
_LOCAL_CITIES = {city.name: city.name_local for market in words.MARKETS.values() for city in market.cities}
_LOCAL_STREETS = {latin: local for market in words.MARKETS.values() for latin, local in market.streets}
_STREET_FORMS = (
    ("Street", "St"),
    ("Road", "Rd."),
    ("Avenue", "Ave"),
    ("Boulevard", "Blvd"),
    ("straße", "str."),
    ("Drive", "Dr"),
    ("Lane", "Ln"),
    ("avenue ", "av. "),
    ("boulevard ", "bd "),
    ("Calle ", "C/ "),
)
_COMPANY_FORMS = (
    ("Co., Ltd.", ("Co.,Ltd", "Co Ltd", "CO., LTD.", "Company Limited", "")),
    ("GmbH & Co. KG", ("GmbH&Co.KG", "GmbH u. Co. KG", "")),
    ("Pte. Ltd.", ("Pte Ltd", "PTE. LTD.", "")),
    ("Limited", ("Ltd", "Ltd.", "")),
    ("Ltd", ("Limited", "LTD", "Ltd.", "")),
    ("GmbH", ("Gmbh", "GMBH", "")),
    ("SARL", ("S.A.R.L.", "Sarl", "")),
    ("Inc.", ("Inc", "Incorporated", "")),
    ("LLC", ("L.L.C.", "")),
)
_NEAR_KEYS = {
    "a": "s",
    "e": "r",
    "i": "o",
    "o": "p",
    "n": "m",
    "r": "t",
    "s": "d",
    "t": "y",
    "u": "i",
    "l": "k",
}


def full_width(text: str) -> str:
    """Write ASCII as full-width forms, as Chinese and Japanese input methods do: "A1 b" -> "Ａ１　ｂ"."""
    return text.translate(_FULL_WIDTH)


def full_width_digits(text: str) -> str:
    """Write only the digits as full-width forms."""
    return "".join(chr(ord(c) + 0xFEE0) if c.isascii() and c.isdigit() else c for c in text)


def without_diacritics(text: str, german: bool = False) -> str:
    """Drop accents: "Lefèvre" -> "Lefevre"; with `german`, "Müller" -> "Mueller" instead of "Muller"."""
    expanded = text.translate(_UMLAUTS) if german else text
    plain = unicodedata.normalize("NFD", expanded.translate(_BARE))
    return unicodedata.normalize("NFC", "".join(c for c in plain if not unicodedata.combining(c)))


@dataclass(frozen=True)
class Dirt:
    """The habits of one system. `level` multiplies the odds of every mishap: none by 0, normal by 1, heavy by 3.

    `has_differences`: whether its documents differ from the orders, as `differences.py` plants it.
    """

    seed: int
    system: str
    level: Level = "normal"
    has_differences: bool = False

    def fraction(self, key: str) -> float:
        """Return a number in [0, 1), always the same for (seed, system, key); no level scales it."""
        digest = hashlib.blake2b(f"{self.seed}\x1f{self.system}\x1f{key}".encode(), digest_size=7).digest()
        return int.from_bytes(digest, "big") / (1 << 56)

    def chance(self, key: str, probability: float) -> bool:
        """Decide whether something goes wrong here: at level normal true with `probability`."""
        odds = probability * _ODDS[self.level]
        return self.fraction(f"{key}/chance") < odds / (odds + 1 - probability)

    def spelling(self, key: str, right: T, others: Sequence[T]) -> T:
        """Choose among the right form and others a system's people use as often; at level none the right one."""
        return right if self.level == "none" else self.pick(key, (right, *others))

    def pick(self, key: str, options: Sequence[T]) -> T:
        """Choose one option, evenly."""
        return options[int(self.fraction(f"{key}/pick") * len(options))]

    def number(self, key: str, low: int, high: int) -> int:
        """Draw a whole number in low..high, both included."""
        return low + int(self.fraction(f"{key}/number") * (high - low + 1))

    def token(self, key: str, length: int, alphabet: str = "0123456789ABCDEFGHJKMNPQRSTVWXYZ") -> str:
        """Draw an opaque id of `length` characters for a system's own keys; no two keys share one."""
        value = int.from_bytes(
            hashlib.blake2b(f"{self.seed}\x1f{self.system}\x1f{key}".encode()).digest(), "big"
        )
        letters = []
        for _ in range(length):
            value, index = divmod(value, len(alphabet))
            letters.append(alphabet[index])
        return "".join(letters)

    def typo(self, text: str, key: str) -> str:
        """Make one edit inside the text (swap, drop, double or near key); text under 4 characters stays."""
        if len(text) < 4:
            return text
        at = self.number(f"{key}/at", 1, len(text) - 2)
        match self.pick(f"{key}/edit", ("swap", "drop", "double", "near")):
            case "swap":
                return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
            case "drop":
                return text[:at] + text[at + 1 :]
            case "double":
                return text[:at] + text[at] + text[at:]
            case _:
                return text[:at] + _NEAR_KEYS.get(text[at], text[at]) + text[at + 1 :]

    def text(self, text: str, key: str) -> str:
        """Write a text as typed: case, spaces, punctuation, rarely full-width digits or a typo."""
        if self.chance(f"{key}/case", 0.12):
            text = self.pick(f"{key}/case", (text.upper(), text.lower(), text.title()))
        if self.chance(f"{key}/space", 0.08):
            text = self.pick(
                f"{key}/space", (f" {text}", f"{text} ", text.replace(" ", "  ", 1), f"{text}\u00a0")
            )
        if self.chance(f"{key}/punctuation", 0.06):
            text = self.pick(
                f"{key}/punctuation", (text.replace("-", " "), text.replace(",", ""), text.replace("'", "’"))
            )
        if self.chance(f"{key}/width", 0.03):
            text = full_width_digits(text)
        return self.typo(text, key) if self.chance(f"{key}/typo", 0.03) else text

    def code(self, code: str, key: str, drop: float = 0.06) -> str | None:
        """Write a code: at times dropped, lower case, spaced or full-width, never mistyped."""
        if self.chance(f"{key}/drop", drop):
            return None
        if self.chance(f"{key}/form", 0.10):
            spaced = code.replace("-", " ") if "-" in code else f"{code[:3]} {code[3:]}"
            return self.pick(f"{key}/form", (code.lower(), spaced, f" {code}", full_width(code)))
        return code

    def order_number(self, number: str, key: str, probability: float = 0.006) -> str:
        """Write another system's order number as somebody copied it: O for 0, a sign short, or cut off."""
        key = f"{key}/order-number"
        if not self.chance(key, probability):
            return number
        at, rest = self.number(f"{key}/at", 1, len(number) - 1), number.partition("-")[2]
        short = number[:at] + number[at + 1 :]
        # Long numbers alone are cut off; what is left of a short one is somebody else's number.
        return self.pick(
            key,
            (number.replace("0", "O", 1), short, rest if len(rest) > 9 else short, number.replace("-", " ")),
        )

    def name_parts(self, customer: Customer, key: str, script: Script = "latin") -> tuple[str, str]:
        """Return (given, family) as this system holds them: swapped, shortened, unaccented or in Han.

        `script`: which script the system's people type where the customer's name has both; "both" mixes by
        customer.
        """
        key = f"{key}/name-parts"
        given, family = customer.given_name, customer.family_name
        if customer.name_zh and not customer.is_company and self._writes_han(key, script):
            width = (
                2
                if customer.name_zh[:2] in ("欧阳", "诸葛")
                or (customer.language == "ja" and len(customer.name_zh) > 2)
                else 1
            )
            return customer.name_zh[width:], customer.name_zh[:width]
        if given in words.NICKNAMES and self.chance(f"{key}/nick", 0.15):
            given = words.NICKNAMES[given]
        elif self.chance(f"{key}/initial", 0.04):
            given = f"{given[0]}."
        if not (given + family).isascii() and self.chance(f"{key}/accent", 0.35):
            is_german = customer.language == "de" and self.fraction(f"{key}/german") < 0.6
            given, family = without_diacritics(given, is_german), without_diacritics(family, is_german)
        if self.chance(f"{key}/typo-given", 0.015):
            given = self.typo(given, f"{key}/given")
        if self.chance(f"{key}/typo-family", 0.015):
            family = self.typo(family, f"{key}/family")
        if self.chance(f"{key}/swap", 0.12 if customer.name_zh else 0.02):
            given, family = family, given
        if self.chance(f"{key}/case", 0.08):
            given, family = self.pick(
                f"{key}/case",
                ((given.upper(), family.upper()), (given.lower(), family.lower()), (given, family.upper())),
            )
        return given, family

    def name(self, customer: Customer, key: str, script: Script = "latin") -> str:
        """Return the name in one field: a person's in either order, a company's as `company` gives it."""
        if customer.is_company:
            return self.company(customer, key, script)
        given, family = self.name_parts(customer, key, script)
        if not given.isascii() and customer.name_zh and given in customer.name_zh:
            return family + given
        if self.chance(f"{key}/comma", 0.05):
            return f"{family}, {given}"
        if customer.name_zh and self.chance(f"{key}/joined", 0.15):  # pinyin order and spacing vary
            return f"{family}{given.lower()}" if self.fraction(f"{key}/join") < 0.3 else f"{family} {given}"
        return f"{given} {family}"

    def company(self, customer: Customer, key: str, script: Script = "latin") -> str:
        """Return a company's name with another legal form, without it, in Han, or as typed.

        Raises:
            ValueError: the customer is a person.
        """
        key = f"{key}/company"
        if customer.company_name is None:
            raise ValueError(f"{customer.customer_id} is a person; ask for name()")
        if customer.name_zh and self._writes_han(key, script):
            short = customer.name_zh.replace("有限公司", "")
            return short if self.chance(f"{key}/short", 0.15) else customer.name_zh
        name = customer.company_name
        if self.chance(f"{key}/legal", 0.35):
            for form, others in _COMPANY_FORMS:
                if name.endswith(form):
                    name = (name[: -len(form)] + self.pick(f"{key}/legal", others)).strip()
                    break
        if " & " in name and self.chance(f"{key}/and", 0.3):
            name = name.replace(" & ", " and ", 1)
        if not name.isascii() and self.chance(f"{key}/accent", 0.35):
            name = without_diacritics(name, customer.language == "de")
        return self.text(name, f"{key}/company")

    def _writes_han(self, key: str, script: Script) -> bool:
        if self.level == "none":  # one spelling of everything
            return script == "han"
        return script == "han" or (script == "both" and self.fraction(f"{key}/script") < 0.5)

    def email(self, customer: Customer, key: str, drop: float = 0.05) -> str | None:
        """Return the e-mail: dropped, in other case, with a plus tag, spaced, rarely mistyped."""
        key = f"{key}/email"
        if customer.email is None or self.chance(f"{key}/drop", drop):
            return None
        mailbox, domain = customer.email.split("@")
        if self.chance(f"{key}/plus", 0.03):
            mailbox = f"{mailbox}+{self.pick(f'{key}/plus', ('shop', 'news', self.system))}"
        if self.chance(f"{key}/typo", 0.01):
            mailbox = self.typo(mailbox, f"{key}/mailbox")
        if self.chance(f"{key}/case", 0.08):
            return self.pick(
                f"{key}/case",
                (f"{mailbox}@{domain}".upper(), f"{mailbox.title()}@{domain}", f" {mailbox}@{domain}"),
            )
        return f"{mailbox}@{domain}"

    def relay_email(self, key: str, domain: str) -> str:
        """Return a marketplace's relay address: it names the buyer to the marketplace alone."""
        return f"{self.token(f'relay/{key}', 14, 'abcdefghijklmnopqrstuvwxyz0123456789')}@{domain}"

    def phone(self, customer: Customer, key: str, drop: float = 0.08) -> str | None:
        """Return the phone as typed: international, national, spaced, bracketed, full-width; or dropped."""
        key = f"{key}/phone"
        if customer.phone_e164 is None or self.chance(f"{key}/drop", drop):
            return None
        return self.phone_number(customer.phone_e164, customer.address.country, key)

    def phone_number(self, e164: str, country: str, key: str) -> str:
        """Spell an E.164 number as people of its country do; read in that country it is the same line."""
        key = f"{key}/phone-number"
        if not self.chance(f"{key}/spelling", 0.6):
            return e164
        abroad = {"US": "011", "JP": "010", "SG": "001"}.get(country, "00")
        calling = {
            "CN": "86",
            "GB": "44",
            "DE": "49",
            "FR": "33",
            "US": "1",
            "JP": "81",
            "SG": "65",
            "ES": "34",
        }[country]
        rest = e164[1 + len(calling) :]
        trunk = "0" if country in ("GB", "DE", "FR", "JP") else ""
        grouped = f"{rest[:3]} {rest[3:6]} {rest[6:]}".strip()
        spelled = self.pick(
            f"{key}/spelling",
            (
                f"+{calling} {grouped}",
                f"{abroad}{calling}{rest}",
                f"{trunk}{rest}",
                f"{trunk}{grouped}",
                f"+{calling} ({trunk}){rest}" if trunk else f"({rest[:3]}) {rest[3:]}",
                f"{trunk}{grouped}".replace(" ", "-"),
            ),
        )
        return (
            full_width_digits(spelled)
            if country in ("CN", "JP") and self.chance(f"{key}/width", 0.08)
            else spelled
        )

    def tax_number(self, customer: Customer, key: str, drop: float = 0.25) -> str | None:
        """Return the tax number: often not asked for; spaced, lower case or full-width."""
        key = f"{key}/tax-number"
        return None if customer.tax_number is None else self.code(customer.tax_number, key, drop)

    def address(
        self, address: Address, key: str, script: Script = "latin", *, may_be_former: bool = True
    ) -> Address:
        """Return the address as typed: abbreviated, unaccented, in Han for "han", at times a former one."""
        key = f"{key}/address"
        street, city, region, postcode = address.street, address.city, address.region, address.postcode
        if may_be_former and self.chance(f"{key}/stale", 0.05):  # moved; this system was never told
            street = f"{self.number(f'{key}/stale', 1, 200)} {street.lstrip('0123456789- ')}"
            postcode = postcode[:-2] + f"{self.number(f'{key}/old', 10, 99)}"
        if address.country in ("CN", "JP") and self._writes_han(key, script):
            for latin, local in _LOCAL_STREETS.items():
                if latin in street:
                    number, _, flat = street.partition(f" {latin}")
                    suffix = "号" if address.country == "CN" else ""
                    street = f"{local}{number}{suffix}{flat.replace(', Room ', '')}{'室' if flat else ''}"
                    break
            city, region = _LOCAL_CITIES[city], words.REGION_ZH.get(region, _LOCAL_CITIES[city])
            if self.chance(f"{key}/width", 0.1):
                street = full_width_digits(street)
        else:
            if self.chance(f"{key}/short", 0.3):
                for long, short in _STREET_FORMS:
                    street = street.replace(long, short)
            if not (street + city).isascii() and self.chance(f"{key}/accent", 0.3):
                is_german = address.country == "DE"
                street, city = without_diacritics(street, is_german), without_diacritics(city, is_german)
            street = self.text(street, f"{key}/street")
        if self.chance(f"{key}/postcode", 0.1):
            postcode = self.pick(
                f"{key}/postcode",
                (postcode.replace(" ", "").replace("-", ""), postcode.lower(), f"{postcode} "),
            )
        return replace(address, street=street, city=city, region=region, postcode=postcode)

    def title(self, product: Product, key: str, script: Script = "latin") -> str:
        """Return a product title: brand left out or last, other size spelling, extra words, Han, as typed."""
        key = f"{key}/title"
        if self._writes_han(key, script):
            title = product.title_zh
            if self.chance(f"{key}/size", 0.3):
                title = title.replace("毫升", "ml").replace("千克", "kg").replace("克", "g")
            return full_width_digits(title) if self.chance(f"{key}/width", 0.08) else title
        title = product.title
        if self.chance(f"{key}/brand", 0.2):
            bare = title.removeprefix(f"{product.brand} ")
            title = self.pick(
                f"{key}/brand", (bare, f"{bare} - {product.brand}", f"{bare} by {product.brand}")
            )
        if self.chance(f"{key}/size", 0.4):
            title = self.pick(
                f"{key}/size",
                (
                    title.replace(" ml", "ml").replace(" g", "g"),
                    title.replace(" × ", "x"),
                    title.replace(" × ", " x ").replace(" ml", " ML"),
                ),
            )
        if self.chance(f"{key}/extra", 0.08):
            title += self.pick(f"{key}/extra", (" NEW", " (sealed)", " - Bestseller", " *"))
        if not title.isascii() and self.chance(f"{key}/accent", 0.2):
            title = without_diacritics(title)
        return self.text(title, f"{key}/title")

    def gtin(self, product: Product, key: str, drop: float = 0.1) -> str | None:
        """Return the bar code as GTIN-14 or EAN-13, full-width, dropped, rarely with a wrong check digit."""
        key = f"{key}/gtin"
        if self.chance(f"{key}/drop", drop):
            return None
        code = product.gtin14
        if self.chance(f"{key}/wrong", 0.015):
            return code[:-1] + str((int(code[-1]) + 1 + self.number(f"{key}/wrong", 0, 7)) % 10)
        short = code[1:] if code[0] == "0" else code
        form = self.pick(f"{key}/form", (short, short, short, code)) if self.level != "none" else code
        return full_width_digits(form) if self.chance(f"{key}/width", 0.03) else form

    def late(self, at: datetime, key: str, probability: float = 0.05) -> datetime:
        """Return when the system got to write it: `at`, or minutes to two days later."""
        return (
            at + timedelta(seconds=self.number(f"{key}/late", 120, 172_800))
            if self.chance(f"{key}/late", probability)
            else at
        )

    def copies(self, key: str, probability: float = 0.02) -> int:
        """Return how many records a system holds of one thing: 1, or 2 where somebody made it again."""
        return 2 if self.chance(f"{key}/copies", probability) else 1

    def is_invalid(self, key: str, probability: float = 0.003) -> bool:
        """Decide whether a record breaks the system's own rules (a wrong type, an impossible value)."""
        return self.chance(f"{key}/invalid", probability)
