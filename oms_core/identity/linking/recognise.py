"""Which column of somebody's file is what: by its name in many spellings and languages, then by what stands in it.

Names of the field's own are what `prepare` and `titles` read (`given_name`, `gtin14`, …). A column nobody recognises keeps
its own name and still counts: the scorer compares it by its content.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pycountry
from stdnum import ean

from oms_core.identity import normalise

Entity = Literal["customer", "sku", "location"]
ENTITIES: tuple[Entity, ...] = ("customer", "sku", "location")
ROW_NUMBER = "row-number"

_PERSON = {
    "given_name": "given_name first_name forename firstname givenname fname christian_name vorname prenom "
    "primer_nombre voornaam imie fornamn 名 名字 имя first given",
    "surname": "surname last_name lastname family_name familyname lname sname nachname familienname nom_de_famille apellido "
    "apellidos cognome sobrenome achternaam nazwisko efternamn 姓 姓氏 фамилия last family",
    "full_name": "full_name fullname person_name contact_name contact contact_person recipient "
    "recipient_name consignee ansprechpartner empfanger nom_complet nombre_completo 姓名 联系人 收件人 收货人 "
    "客户名称 客户姓名 顾客姓名 买家姓名 氏名 お名前 성명 이름 фио buyer_name addressee",
    # A person's or a company's: its values tell which.
    "name": "name names display_name customer client nom nombre nome naam bezeichnung 名称 название kunde",
    "company_name": "company_name company companyname organisation organization organisation_name organization_name business "
    "business_name business_legal_name legal_name firm firma firmenname firmierung unternehmen societe raison_sociale empresa "
    "razon_social azienda bedrijf employer account_name 公司 公司名称 企业名称 单位 单位名称 会社名 회사명 компания dba_name",
    "email": "email e_mail mail email_address emailaddress mail_address e_mail_address e_mail_adresse courriel correo "
    "correo_electronico 邮箱 电子邮箱 电子邮件 邮件 メール メールアドレス 이메일 почта",
    "phone": "phone phone_number phonenumber telephone telephone_number tel telefon telefonnummer mobile mobile_number "
    "mobile_phone mobil mobiltelefon handy cell cell_phone cellphone rufnummer telefono telephone_portable portable 电话 "
    "电话号码 手机 手机号 手机号码 联系电话 電話 電話番号 전화 전화번호 телефон phone1 phone_1 contact_number contact_phone phone_e164",
    "tax_number": "tax_number taxnumber tax_id taxid tin vat vat_id vat_number vatnumber ust_id ust_idnr ustid "
    "umsatzsteuer_id steuernummer siret siren nif cif rfc cnpj abn ein uscc 税号 统一社会信用代码 纳税人识别号 инн",
    "national_id": "national_id nationalid ssn social_security_number soc_sec_id social_security sin id_number id_card "
    "identity_number nhs_number nino passport passport_number personalausweis ausweisnummer dni 身份证 身份证号 身份证号码 护照号",
    "date_of_birth": "date_of_birth dateofbirth dob birth_date birthdate birthday born geburtsdatum geburtstag geb_datum "
    "date_de_naissance fecha_de_nacimiento data_di_nascita 生日 出生日期 出生年月 生年月日 생년월일 дата_рождения",
    "marketplace_buyer_id": "marketplace_buyer_id buyer_id 买家id 买家账号",
}
_PLACE = {
    "street": "street street_address streetaddress address address_1 address1 address_line_1 address_line1 addressline1 addr "
    "addr1 addr_1 street_1 street1 strasse str anschrift adresse adresszeile_1 rue direccion calle indirizzo via adres ulica "
    "地址 详细地址 街道 街道地址 收货地址 住所 주소 адрес full_address location_address street_name",
    "street_number": "street_number streetnumber house_number housenumber house_no hausnummer hausnr hnr street_no numero "
    "building_number 门牌号 番地 дом",
    "address_2": "address_2 address2 address_line_2 address_line2 addressline2 addr2 addr_2 street_2 street2 adresszeile_2 "
    "adresszusatz zusatz apartment apt unit suite complement 地址2",
    "city": "city town suburb locality municipality place_name city_name ort stadt wohnort ville ciudad citta cidade plaats "
    "stad miasto 城市 市 所在城市 市町村 市区町村 도시 город",
    "region": "region state province county state_code state_province stateprovince bundesland kanton departement provincia "
    "estado prefecture 省 省份 州 州省 都道府県 도 область district 区 区县",
    "postcode": "postcode post_code postalcode postal_code postal zip zipcode zip_code zip5 plz postleitzahl code_postal cp "
    "codigo_postal cap cep pincode pin_code 邮编 邮政编码 郵便番号 우편번호 индекс",
    "country": "country country_code countrycode country_name nation country_iso country_iso2 land staat pays pais paese "
    "国家 国别 国家地区 国 국가 страна",
}
_SPELLINGS: Mapping[Entity, Mapping[str, str]] = {
    "customer": {**_PERSON, **_PLACE},
    "sku": {
        "title": "title name product_name productname product_title producttitle product item_name itemname item_title item "
        "article_name listing_title bezeichnung artikelbezeichnung produktname artikelname artikel produkt designation libelle "
        "nom nombre titulo nome titolo 商品名称 商品名 品名 产品名称 产品名 标题 商品标题 名称 商品 商品名稱 상품명 название "
        "material_description",
        "brand": "brand brand_name brandname manufacturer manufacturer_name maker make producer vendor label marke hersteller "
        "herstellername marque fabricant marca fabricante marchio 品牌 品牌名称 厂商 制造商 生产厂家 メーカー ブランド 브랜드 бренд",
        "mpn": "mpn model modelno model_no model_number modelnumber model_name part_number partnumber part_no partno "
        "manufacturer_part_number mfr_part_number mfg_part_number manufacturer_part_no herstellernummer herstellerartikelnummer "
        "modell modellnummer teilenummer reference_fabricant modele 型号 规格型号 货品型号 型番 모델명 артикул",
        "sku_code": "sku_code sku skucode sku_id item_code itemcode item_number item_no itemno article_number article_no "
        "article_code product_code productcode product_number stock_code stockcode artikelnummer artikelnr artikel_nr art_nr "
        "material material_number material_no reference ref codigo codice 货号 商品编码 商品编号 物料编码 物料号 产品编码 商品コード 품번 "
        "seller_sku merchant_sku vendor_sku asin",
        "gtin14": "gtin14 gtin gtin_14 gtin13 gtin_13 gtin8 ean ean13 ean_13 ean_code eancode upc upc_a upca upc_code barcode "
        "bar_code barcodes isbn isbn13 isbn_13 jan jan_code 条码 条形码 国际条码 商品条码 바코드 штрихкод strichcode",
        "description": "description descr desc long_description longdescr product_description details detail features text "
        "short_description shortdescr beschreibung langtext produktbeschreibung descripcion descrizione 描述 商品描述 详情 简介 "
        "설명 описание",
        "price": "price list_price listprice unit_price unitprice retail_price sale_price amount preis verkaufspreis prix precio "
        "prezzo preco 价格 单价 售价 零售价 価格 가격 цена msrp price_amount",
        "size_qty": "size_qty",
        "size_uom": "size_uom",
        "pack_qty": "pack_qty",
    },
    "location": {
        "company_name": "location_name name store_name storename site_name sitename shop_name branch branch_name warehouse_name "
        "warehouse depot depot_name outlet facility facility_name place location hotel_name restaurant restaurant_name venue "
        "standort standortname filiale filialname lager lagername nom nombre nome 名称 门店名称 门店 店名 仓库名称 仓库 店铺名称 网点 网点名称 "
        "店舗名 매장명 название company company_name business_name",
        "gln": "gln global_location_number iln 全球位置码",
        "location_code": "location_code locationcode store_code storecode store_number store_no store_id site_code sitecode "
        "warehouse_code branch_code branch_no plant werk filialnummer standortnummer lagernummer depot_code unlocode iata icao "
        "门店编码 门店编号 仓库编码 仓库编号 店舗コード",
        "latitude": "latitude lat breite breitengrad 纬度 geo_lat y_coordinate",
        "longitude": "longitude lon lng long lange langengrad 经度 geo_lon geo_lng x_coordinate",
        "phone": _PERSON["phone"],
        "email": _PERSON["email"],
        "tax_number": _PERSON["tax_number"],
        **_PLACE,
    },
}
# Other names under which the parts of the system know the same column; `--map` accepts them.
_SYNONYMS = {"family_name": "surname", "last_name": "surname", "first_name": "given_name", "gtin": "gtin14",
             "birth_date": "date_of_birth", "location_name": "company_name", "house_number": "street_number",
             "phone_e164": "phone", "size": "size_qty"}  # fmt: skip
_PREFIXES = (
    "customer", "cust", "client", "contact", "billing", "bill_to", "bill", "shipping", "ship_to", "ship", "delivery", "person",
    "personal", "home", "work", "business", "primary", "default", "main", "mailing", "residential", "current", "buyer", "user",
    "member", "patient", "employee", "voter", "owner", "product", "item", "article", "store", "shop", "location", "site",
    "warehouse", "branch", "kunden", "kunde", "rechnungs", "liefer", "artikel", "produkt", "client", "客户", "顾客", "买家", "会员",
    "收货", "收件", "商品", "产品", "门店", "仓库", "所在",
)  # fmt: skip
_IDS = [
    "id",
    "record_id",
    "rec_id",
    "recid",
    "recordid",
    "row_id",
    "rowid",
    "uid",
    "uuid",
    "guid",
    "pk",
    "key",
    "record_key",
    "source_key",
    "_id",
    "idx",
    "index",
    "unique_id",
    "uniqueid",
    "编号",
    "序号",
    "主键",
    "ident",
    "nr",
    "lfd_nr",
    "record_number",
    "record_no",
    "record",
]
_OWN_IDS = [
    "customer_id",
    "customerid",
    "customer_no",
    "customer_number",
    "cust_id",
    "client_id",
    "contact_id",
    "person_id",
    "party_id",
    "user_id",
    "account_id",
    "member_id",
    "patient_id",
    "voter_id",
    "employee_id",
    "kundennummer",
    "kundennr",
    "kunden_nr",
    "kunden_id",
    "product_id",
    "productid",
    "item_id",
    "itemid",
    "article_id",
    "sku",
    "sku_id",
    "sku_code",
    "item_code",
    "article_number",
    "artikelnummer",
    "material_number",
    "stock_code",
    "asin",
    "location_id",
    "store_id",
    "site_id",
    "store_code",
    "warehouse_code",
    "branch_id",
    "place_id",
    "listing_id",
    "offer_id",
    "entity_no",
    "客户编号",
    "客户id",
    "会员编号",
    "商品编号",
    "商品编码",
    "货号",
    "门店编号",
    "仓库编号",
    "门店编码",
    "仓库编码",
    "物料编码",
]
# Answers, not evidence: a file that carries its own truth must not be matched by it.
_ANSWERS = re.compile(
    r"(true|truth|gold|golden|ground_truth|actual|real)(_(id|ids|cluster|cluster_id|entity|entity_id|label|match|group))?"
    r"|cluster|cluster_?id|cluster_no|is_?(match|dupe|duplicate)|duplicate(_of)?|dup(_id)?|match_id|label|entity_?id|same_as"
)
_SAMPLE = 4000
_ENOUGH = 0.8
_EMAIL = r"^[^@\s,;]+@[^@\s,;]+\.[^@\s,;.]{2,}$"
_DATE = (
    r"^(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?|\d{1,2}[-/. ]\d{1,2}[-/. ]\d{2,4}|(19|20)\d{2}(0[1-9]|1[0-2])([0-2]\d|3[01])"
    r"|\d{4}年\d{1,2}月\d{1,2}日)$"
)
_PHONE_MARKED = r"^(\+|00)?[\d\s().\-/–]{7,24}( ?(x|ext\.?|-) ?\d{1,6})?$"
_CN_MOBILE = r"^(\+?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}$"
_PRICE = r"^[$€£¥￥]? ?\d{1,3}([., ]?\d{3})*([.,]\d{1,4})? ?([$€£¥元]|[A-Z]{3})?$"


class ColumnError(ValueError):
    """A column that was named does not exist or cannot serve; the message lists what there is."""


@dataclass(frozen=True)
class Column:
    """What one column was taken as: a canonical name, None where it counts by content only; and why."""

    name: str
    canonical: str | None
    reason: str


@dataclass(frozen=True)
class Recognised:
    """A file's columns understood.

    `id_column` is None where rows are numbered. `left_out` names columns that are no evidence, with the reason.
    """

    id_column: str | None
    columns: tuple[Column, ...]
    left_out: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()


def recognise(
    table: pa.Table,
    entity: Entity,
    id_column: str | None = None,
    mapping: Mapping[str, str] | None = None,
) -> Recognised:
    """Say what each column of a file is.

    Args:
        table: text columns.
        entity: what the records describe.
        id_column: name of the id column, or "row-number"; recognised where None.
        mapping: canonical name -> column, for what somebody declared; declared columns are not guessed at.

    Raises:
        ColumnError: a column or a canonical name that does not exist, or an id column whose values are not unique.
    """
    known = known_names(entity)
    declared: dict[str, str] = {}
    for canonical, column in (mapping or {}).items():
        name = canonical if canonical in known else _SYNONYMS.get(canonical, canonical)
        if entity == "sku" and canonical == "name":
            name = "title"
        if name not in known:
            raise ColumnError(
                f"--map {canonical}=…: no such attribute of a {entity}.{_nearest(canonical, known)}"
            )
        if column not in table.column_names:
            raise ColumnError(
                f"--map {canonical}={column}: no such column.{_nearest(column, table.column_names)}"
            )
        if column in declared:
            raise ColumnError(
                f"--map: column {column!r} is given for {declared[column]} and for {name}; give it once"
            )
        declared[column] = name
    chosen_id, notes = _id_column(table, id_column, declared)
    left_out: list[tuple[str, str]] = []
    open_columns = []
    for name in table.column_names:
        folded = fold(name)
        if name in declared:
            continue
        if table[name].null_count == table.num_rows:
            left_out.append((name, "holds nothing"))
        elif _ANSWERS.fullmatch(folded):
            left_out.append((name, "sounds like an answer, not evidence; declare it with --map if it is not"))
        elif name == chosen_id and not _is_evidence_too(folded, entity):
            continue
        else:
            open_columns.append(name)
    found = {name: Column(name, canonical, "declared") for name, canonical in declared.items()}
    found |= _by_name(table, entity, open_columns, set(declared.values()))
    rest = [name for name in open_columns if name not in found and name != chosen_id]
    taken = {column.canonical for column in found.values()}
    found |= _by_content(table, entity, rest, {name for name in taken if name is not None})
    for name in rest:
        if name not in found:
            found[name] = Column(name, None, "by content only")
    ordered = tuple(found[name] for name in table.column_names if name in found)
    return Recognised(chosen_id, ordered, tuple(left_out), notes)


def known_names(entity: Entity) -> tuple[str, ...]:
    """Canonical names that `--map` takes for an entity."""
    return tuple(_SPELLINGS[entity])


def fold(header: str) -> str:
    """A header in one spelling: last part of a URI, words apart by '_', lower case, no accents: 'firstName' is first_name."""
    text = unicodedata.normalize("NFKC", header).strip()
    if "://" in text:
        text = re.split(r"[#/]", text.rstrip("#/"))[-1]
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).replace("ß", "ss").casefold()
    text = "".join(sign for sign in unicodedata.normalize("NFD", text) if not "\u0300" <= sign <= "\u036f")
    return re.sub(r"[\W_]+", "_", unicodedata.normalize("NFC", text)).strip("_")


def _nearest(word: str, known: Sequence[str]) -> str:
    folded = {fold(name): name for name in known}
    near = get_close_matches(fold(word), list(folded), n=1, cutoff=0.6)
    hint = f" Did you mean {folded[near[0]]!r}?" if near else ""
    return f"{hint} There is: {', '.join(known)}"


# Ids


def _id_column(
    table: pa.Table, wanted: str | None, declared: Mapping[str, str]
) -> tuple[str | None, tuple[str, ...]]:
    if wanted == ROW_NUMBER and wanted not in table.column_names:
        return None, ()
    if wanted is not None:
        if wanted not in table.column_names:
            raise ColumnError(f"--id {wanted}: no such column.{_nearest(wanted, table.column_names)}")
        _check_unique(table, wanted, f"--id {wanted}")
        return wanted, ()
    folded = {name: fold(name) for name in table.column_names}
    for name in table.column_names:
        if folded[name] in ("id", "record_id", "rec_id", "_id"):
            _check_unique(table, name, f"the id column {name!r}")
            return name, ()
    ending = re.compile(r".*(_id|_no|_nr|_key|_code|_number|uuid|guid|编号|编码|id)$|^id_.+")
    for rank in (
        lambda name: folded[name] in _IDS,
        lambda name: folded[name] in _OWN_IDS,
        lambda name: ending.match(folded[name]) is not None and name == table.column_names[0],
    ):
        for name in table.column_names:
            if rank(name) and name not in declared and _repeated(table, name) is None:
                return name, ()
    return None, (
        "no id column was recognised: records are named by their row, from 1; say --id COLUMN for another",
    )


def _repeated(table: pa.Table, name: str) -> str | None:
    """Why a column cannot name records; None where it can."""
    column: Any = table[name]
    if column.null_count:
        rows: Any = pc.indices_nonzero(pc.is_null(column)).slice(0, 3).to_pylist()
        return f"{column.null_count:,} of {table.num_rows:,} rows have none (row {', '.join(str(row + 1) for row in rows)})"
    counts: Any = column.value_counts()
    values: Any = counts.field("values")
    numbers: Any = counts.field("counts")
    many: Any = pc.indices_nonzero(pc.greater(numbers, pa.scalar(1, pa.int64())))
    if not len(many):
        return None
    shown = []
    for place in many.slice(0, 3).to_pylist():
        value = values[place].as_py()
        rows = pc.indices_nonzero(pc.equal(column, value)).slice(0, 3).to_pylist()
        shown.append(
            f"{value!r} (rows {', '.join(str(row + 1) for row in rows)}{'…' if numbers[place].as_py() > 3 else ''})"
        )
    return f"{len(many):,} values stand more than once: {', '.join(shown)}{'…' if len(many) > 3 else ''}"


def _check_unique(table: pa.Table, name: str, what: str) -> None:
    fault = _repeated(table, name)
    if fault is not None:
        raise ColumnError(
            f"{what} does not name each record: {fault}. Name another column with --id, or number the rows with "
            f"--id {ROW_NUMBER}"
        )


def _is_evidence_too(folded: str, entity: Entity) -> bool:
    """Whether an id is a code that other files may share: a seller's item code, a store's number."""
    words = _SPELLINGS[entity]
    codes = {"sku": ("sku_code", "gtin14", "mpn"), "location": ("gln", "location_code"), "customer": ()}[
        entity
    ]
    return any(folded in words[name].split() for name in codes)


# Names


def _by_name(table: pa.Table, entity: Entity, names: Sequence[str], taken: set[str]) -> dict[str, Column]:
    """Best column for each canonical name: the more usual spelling first, then the fuller column."""
    spellings: dict[str, tuple[str, int]] = {}
    for canonical, listed in _SPELLINGS[entity].items():
        for place, spelling in enumerate(listed.split()):
            spellings[spelling] = (canonical, place)
            spellings.setdefault(spelling.replace("_", ""), (canonical, place))
    ranked: list[tuple[int, int, int, str, str]] = []
    for order, name in enumerate(names):
        for cost, folded in _readings(fold(name)):
            if folded in spellings:
                canonical, place = spellings[folded]
                if _fits(canonical, table[name]):
                    ranked.append((cost, place, order, name, canonical))
                    break
    found: dict[str, Column] = {}
    for _, _, _, name, canonical in sorted(ranked):
        if canonical not in taken and name not in found:
            found[name] = Column(name, canonical, "by name")
            taken.add(canonical)
    return found


def _readings(folded: str) -> list[tuple[int, str]]:
    """A header as it stands, and without words about whose it is: 'billing_city' is a city."""
    found = [(0, folded), (0, folded.replace("_", ""))]
    for prefix in _PREFIXES:
        if folded.startswith(prefix) and len(folded) > len(prefix):
            found.append((1, folded[len(prefix) :].strip("_")))
    if folded.endswith(("_1", "_text", "_value", "_name", "_norm")):
        found.append((2, folded.rsplit("_", 1)[0]))
    return found


def _fits(canonical: str, column: Any) -> bool:
    """Whether what stands in a column can be what its name says."""
    values = _sample(column)
    test = _TESTS.get(canonical)
    return test is None or not values or sum(map(test, values)) >= 0.5 * len(values)


def _sample(column: Any) -> list[str]:
    """Up to some thousand values, spread over the whole column."""
    known = column.drop_null()
    if len(known) > _SAMPLE:
        step = len(known) / _SAMPLE
        known = known.take(pa.array([int(place * step) for place in range(_SAMPLE)]))
    return [str(value) for value in known.to_pylist()]


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda value: compiled.match(unicodedata.normalize("NFKC", value).strip()) is not None


def _is_gtin(value: str) -> bool:
    digits = re.sub(r"[\s-]", "", value.removesuffix(".0"))
    if not digits.isdigit() or not 8 <= len(digits) <= 14 or set(digits) == {"0"}:
        return False
    # Spreadsheets drop leading zeros; filled up to a length that has a check digit, the number must still hold.
    return any(ean.is_valid(digits.zfill(size)[-size:]) for size in (8, 12, 13, 14) if size >= len(digits))


def _is_date(value: str) -> bool:
    return _matches_date(value) or (value.isdigit() and len(value) in (6, 8))


_matches_date = _matches(_DATE)
_is_email = _matches(_EMAIL)
_is_phone = _matches(_PHONE_MARKED)
_is_cn_mobile = _matches(_CN_MOBILE)
_is_price = _matches(_PRICE)


def _has_digits(least: int) -> Callable[[str], bool]:
    return lambda value: sum(sign.isdigit() for sign in value) >= least


def _is_coordinate(value: str) -> bool:
    try:
        return abs(float(value.replace(",", "."))) <= 180
    except ValueError:
        return False


# A name alone is not believed where values can contradict it.
_TESTS: Mapping[str, Callable[[str], bool]] = {
    "email": lambda value: "@" in value,
    "phone": _has_digits(5),
    "gtin14": lambda value: _is_gtin(value),
    "gln": lambda value: len(re.sub(r"\D", "", value)) in (12, 13),
    "date_of_birth": _has_digits(4),
    "price": _has_digits(1),
    "latitude": _is_coordinate,
    "longitude": _is_coordinate,
    "given_name": lambda value: not value.replace(".", "").isdigit(),
    "surname": lambda value: not value.replace(".", "").isdigit(),
    "name": lambda value: not value.replace(".", "").isdigit(),
    "full_name": lambda value: not value.replace(".", "").isdigit(),
    "company_name": lambda value: not value.replace(".", "").isdigit(),
    "title": lambda value: not value.replace(".", "").isdigit(),
    "postcode": lambda value: len(value) <= 12,
    "country": lambda value: not value.isdigit() or len(value) == 3,
}


# Content


def _by_content(table: pa.Table, entity: Entity, names: Sequence[str], taken: set[str]) -> dict[str, Column]:
    """What names do not say: e-mails, phones, article numbers, countries, titles and names that their values give away."""
    found: dict[str, Column] = {}
    tests: list[tuple[str, Callable[[str], bool], float]] = []
    if entity in ("customer", "location"):
        tests += [("email", _is_email, _ENOUGH), ("country", _is_country, 0.95)]
    if entity == "sku":
        tests += [("gtin14", _is_gtin, 0.9)]
    if entity == "location":
        tests += [("gln", lambda value: len(value) == 13 and _is_gtin(value), 0.9)]
    for name in names:
        values = _sample(table[name])
        if not values:
            continue
        if entity in ("customer", "location") and "phone" not in taken and _reads_as_phone(values):
            found[name] = Column(name, "phone", "by content")
            taken.add("phone")
            continue
        for canonical, test, share in tests:
            if canonical not in taken and sum(map(test, values)) >= share * len(values):
                found[name] = Column(name, canonical, "by content")
                taken.add(canonical)
                break
    rest = [name for name in names if name not in found]
    if entity == "sku" and "title" not in taken:
        title = _wordiest(table, rest, longest=25) or _wordiest(table, rest, longest=10_000)
        if title is not None:
            found[title] = Column(title, "title", "by content")
    naming = {
        "customer": ("full_name", "name", "given_name", "surname", "company_name"),
        "location": ("company_name",),
    }
    if entity in naming and not taken & set(naming[entity]):
        likely = _name_like(table, [column for column in rest if column not in found])
        if likely is not None:
            found[likely] = Column(likely, naming[entity][0], "by content")
    return found


def _reads_as_phone(values: Sequence[str]) -> bool:
    """Phones are marked as such by a plus, brackets or groups, or are Chinese mobiles; bare numbers may be anything."""
    if sum(map(_is_cn_mobile, values)) >= _ENOUGH * len(values):
        return True
    marked = [value for value in values if re.search(r"[+()\-/. ]", value.strip())]
    likely = sum(_is_phone(value) and 7 <= len(re.sub(r"\D", "", value)) <= 15 for value in values)
    dates = sum(map(_matches_date, values))
    decimals = sum(re.fullmatch(r"[+-]?\d+[.,]\d+", value) is not None for value in values)
    return (
        likely >= _ENOUGH * len(values)
        and len(marked) >= 0.5 * len(values)
        and dates < 0.3 * len(values)
        and decimals < 0.3 * len(values)
    )


_COUNTRIES = {
    form.casefold()
    for country in pycountry.countries
    for form in (
        country.alpha_2,
        country.alpha_3,
        country.name,
        getattr(country, "common_name", country.name),
    )
}


def _is_country(value: str) -> bool:
    return value.casefold() in _COUNTRIES


def _wordiest(table: pa.Table, names: Sequence[str], longest: int) -> str | None:
    """The column that reads most like a title: many distinct values of several words, not whole paragraphs."""
    best: tuple[float, str] | None = None
    for name in names:
        values = _sample(table[name])
        if not values:
            continue
        words = sum(len(re.findall(r"[^\W\d_]{2,}|[\u4e00-\u9fff]", value)) for value in values) / len(values)
        if not 1.5 <= words <= longest:
            continue
        filled = 1 - table[name].null_count / table.num_rows
        weight = filled * len(set(values)) / len(values) * min(words, 8)
        if best is None or weight > best[0]:
            best = (weight, name)
    return best[1] if best is not None else None


def _name_like(table: pa.Table, names: Sequence[str]) -> str | None:
    """The column of names: two to five words without digits, or two to five Chinese signs, mostly distinct."""
    for name in names:
        values = _sample(table[name])
        if not values or len(set(values)) < 0.3 * len(values):
            continue
        likely = sum(
            2 <= len(normalise.plain(value) or "") <= 60
            and re.fullmatch(r"[^\W\d_]+([ ,.'&-]+[^\W\d_]+){1,4}\.?|[\u4e00-\u9fff]{2,5}", value.strip())
            is not None
            for value in values
        )
        if likely >= 0.7 * len(values):
            return name
    return None
