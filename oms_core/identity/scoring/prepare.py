"""Records of people, companies and places in comparable form: one table in, one normalised table out.

Works on a million rows in seconds: DuckDB does what plain Latin text needs, on distinct values where they repeat; Python
does the rest (Chinese, Japanese, Korean, Cyrillic …), once per distinct value. What cannot be read stays unknown (null).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import duckdb
import pyarrow as pa

from oms_core.identity.names import full_forms
from oms_core.identity.normalise import RELAY_DOMAINS, is_firm, name_words, pinyin, simplified
from oms_core.identity.scoring.engines import in_memory
from oms_core.identity.scoring.model import Kind

RECORD_ID = "record_id"
SOURCE = "source_system"

# Other names of the columns that have a meaning here; the first that a record has a value in counts.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "given_name": ("given_name", "first_name"),
    "surname": ("surname", "family_name", "last_name"),
    "full_name": ("full_name", "name", "contact_name"),
    "company_name": ("company_name", "company", "location_name"),
    "date_of_birth": ("date_of_birth", "birth_date", "dob"),
    "phone": ("phone_e164", "phone", "telephone", "mobile"),
    "email": ("email", "e_mail"),
    "street": ("street", "address", "address_1"),
    "street_number": ("street_number", "house_number"),
    "address_2": ("address_2",),
    "city": ("city", "suburb", "town"),
    "postcode": ("postcode", "zip", "zip_code", "postal_code"),
    "region": ("region", "state", "province"),
    "country": ("country",),
    "tax_number": ("tax_number", "vat_number"),
    "national_id": ("national_id", "soc_sec_id", "ssn"),
    "gln": ("gln",),
    "location_code": ("location_code",),
    "marketplace_buyer_id": ("marketplace_buyer_id",),
}
CODES = ("tax_number", "national_id", "gln", "location_code", "marketplace_buyer_id")
# Said about a record or a relationship, not about who somebody is.
NOT_IDENTIFYING = frozenset(
    {
        "source_key", "source_updated_at", "customer_type", "language", "loyalty_tier", "customer_segment",
        "preference_tags", "marketing_consent", "created_at", "updated_at", "landed_at", "is_test", "raw_id", "batch_id",
        "first_landed_at", "extra", "location_type", "timezone",
    }
)  # fmt: skip
_LONGEST = 60
_LONGEST_TEXT = 240  # PostgreSQL measures edit distance on 255 bytes at most

_NOTHING = "'', 'null', 'none', 'nan', 'n a', 'na', 'unknown', 'unbekannt', 'not available', 'not known', 'nil', 'missing', 'tbd', 'wu'"
_TITLES = "mr|mrs|ms|miss|mx|dr|prof|sir|herr|frau|monsieur|madame|mme|sr|jr|ii|iii|iv|esq|phd|md"
_COMPANY = (
    "ltd|limited|inc|incorporated|llc|llp|lp|gmbh|ag|sarl|sas|sa|spa|srl|bv|nv|co|company|corp|corporation|pte|pty|plc|kk|kg"
    "|ohg|ug|oy|ab|as|aps|sp z o o|sl|gesellschaft|group|holdings?|youxian|youxiangongsi|gufen|gongsi|jituan"
)
# Legal forms that end no person's name.
_LEGAL = "ltd|limited|inc|incorporated|llc|l l c|llp|gmbh|ag|kg|ohg|sarl|sas|plc|corp|corporation|company|pty|bv|nv|srl|spa|oy|kk"
_CJK_FIRM = "公司|株式会社|有限会社|合同会社|㈱"
_CJK_TITLE = re.compile(r"(先生|女士|小姐|太太|老师|经理|様|さん|씨|님)$")
_CJK_PLACE_END = re.compile(
    r"(特别行政区|维吾尔自治区|壮族自治区|回族自治区|自治区|自治州|地区|省|市|区|县|區|縣)$"
)
_CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_KANA = re.compile(r"[\u3040-\u30ff]")
_HANGUL = re.compile(r"[\uac00-\ud7af]")
_COMPOUND = re.split(
    " ",
    "欧阳 歐陽 司马 司馬 诸葛 諸葛 上官 东方 東方 皇甫 尉迟 尉遲 公孙 公孫 令狐 慕容 司徒 夏侯 端木 长孙 "
    "長孫 宇文 南宫 南宮 独孤 獨孤 西门 西門",
)
# The hundred most common Chinese family names, in pinyin: they tell which end of a Latin name is the family's.
_FAMILY = re.split(
    " ",
    "wang li zhang liu chen yang huang zhao wu zhou xu sun ma zhu hu guo he lin gao luo zheng liang xie song "
    "tang han feng deng cao peng zeng xiao tian dong pan yuan cai jiang yu du ye cheng wei su lu ding ren shen "
    "yao fu zhong cui tan liao fan shi jin jia xia bai fang zou xiong meng qin qiu hou yin xue yan lei long "
    "tao duan hao kong shao mao chang wan gu lai wen ouyang situ zhuge sima shangguan huangfu kang shan dai mo "
    "nie pang ge ning yue mi ji ruan cen ke yun miao mei sheng tong che fei geng ou zhan bian mu",
)
_CYRILLIC = dict(
    zip(
        "абвгдеёжзийклмнопрстуфхцчшщъыьэюяіїєґ",
        "a b v g d e e zh z i i k l m n o p r s t u f kh ts ch sh shch _ y _ e iu ia i i ie g".replace(
            "_", ""
        ).split(" "),
        strict=True,
    )
)
_STREETS = {
    "st": "street", "str": "strasse", "rd": "road", "ave": "avenue", "av": "avenue", "dr": "drive", "ct": "court", "pl": "place",
    "ln": "lane", "blvd": "boulevard", "hwy": "highway", "sq": "square", "tce": "terrace", "cres": "crescent", "crt": "court",
    "pde": "parade", "cct": "circuit", "cl": "close", "pkwy": "parkway",
}  # fmt: skip


def latin(value: str) -> str:
    """A text in Latin letters: Chinese as pinyin, one word per sign; other scripts sign by sign. Lower case."""
    text = unicodedata.normalize("NFKC", value).casefold()
    if _CJK.search(text):
        text = " ".join(pinyin(simplified(text)))
    out = []
    for sign in unicodedata.normalize("NFD", text) if not _HANGUL.search(text) else text:
        if sign < "\u0250" or not sign.isalpha():
            out.append("" if unicodedata.combining(sign) else sign)
        elif sign in _CYRILLIC:
            out.append(_CYRILLIC[sign])
        else:
            # "GREEK SMALL LETTER ALPHA", "KATAKANA LETTER KA", "HANGUL SYLLABLE GIM": the last word is the sound.
            out.append(unicodedata.name(sign, "").rsplit(" ", 1)[-1].lower())
    return "".join(out)


def _latin_full_name(value: str) -> str:
    """'family, given' of a name in Chinese signs; otherwise its Latin spelling in the order it has."""
    text = _CJK_TITLE.sub("", unicodedata.normalize("NFKC", value).strip()).strip()
    if not _CJK.search(text) or _KANA.search(text) or len(text) > 6 or re.search(r"[a-zA-Z]", text):
        return latin(value)
    parts = re.split(r"[\s·,]+", text)
    if len(parts) == 1:
        size = 2 if text[:2] in _COMPOUND and len(text) > 2 else 1
        parts = [text[:size], text[size:]]
    # 天宇 吴: forms with two fields put the given name first.
    elif _is_family(parts[-1]) and not _is_family(parts[0]):
        parts = [parts[-1], *parts[:-1]]
    family, given = ("".join(pinyin(simplified(part))) for part in (parts[0], "".join(parts[1:])))
    return f"{family}, {given}"


def _is_family(text: str) -> bool:
    return text in _COMPOUND or (len(text) == 1 and pinyin(simplified(text))[0] in _FAMILY)


def _latin_word(value: str) -> str:
    """A given or family name alone: pinyin in one word."""
    text = unicodedata.normalize("NFKC", value)
    return "".join(latin(text).split()) if _CJK.search(text) else latin(text)


def _latin_company(value: str) -> str:
    """A company's name as it writes itself in English: the place and the name in pinyin, the trade translated."""
    if not _CJK.search(value):
        return latin(value)
    return " ".join(name_words(value if is_firm(value) else f"{value}公司") or ())


def _latin_place(value: str) -> str:
    """A province, city or district without the word for what it is."""
    text = "".join(unicodedata.normalize("NFKC", value).split())
    short = _CJK_PLACE_END.sub("", text)
    return "".join(latin(short if len(short) >= 2 else text).split())


def _latin_street(value: str) -> str:
    """A Chinese street line without the province, city and district before the street; 'road 100' stays in signs' order."""
    text = unicodedata.normalize("NFKC", value)
    text = re.sub(r"^.{2,8}?(省|自治区)", "", text)
    text = re.sub(r"^.{2,8}?(市|州)", "", text)
    text = re.sub(r"^.{1,7}?(区|县|區|縣)", "", text)
    return latin(re.sub(r"[号號室楼樓栋棟层層弄]", " ", text))


_FROM_SCRIPTS: Mapping[str, Callable[[str], str]] = {
    "full_name": _latin_full_name,
    "given_name": _latin_word,
    "surname": _latin_word,
    "company_name": _latin_company,
    "city": _latin_place,
    "region": _latin_place,
    "country": _latin_place,
    "street": _latin_street,
    "address_2": _latin_street,
}


def _fold(text: str) -> str:
    """SQL: lower case Latin letters, digits and single spaces."""
    plain = f"replace(replace(replace(replace(replace(lower({text}), 'ß', 'ss'), 'ø', 'o'), 'æ', 'ae'), 'œ', 'oe'), 'ł', 'l')"
    return f"trim(regexp_replace(strip_accents(replace(replace({plain}, '''', ''), '’', '')), '[^a-z0-9]+', ' ', 'g'))"


def _known(text: str, longest: int = _LONGEST) -> str:
    """SQL: null where the text says that nothing is known."""
    return f"case when {text} in ({_NOTHING}) then null else left({text}, {longest}) end"


def _name_fold(text: str) -> str:
    # "Mueller" is how "Müller" is written where there is no ü.
    folded = _fold(text)
    return f"replace(replace(replace({folded}, 'ae', 'a'), 'oe', 'o'), 'ue', 'u')"


def _sound(name: str) -> str:
    """SQL: a coarse phonetic key: first sound, then the consonants in six classes, repeated ones once.

    After R. C. Russell's Soundex, US patent 1,261,167 (1918), without its fixed length of four and with the first letter
    in a class too, since phonetic errors fall on it as well.
    """
    text = f"replace({name}, ' ', '')"
    for spelt, said in (
        ("ph", "f"),
        ("^kn", "n"),
        ("^wr", "r"),
        ("^gn", "n"),
        ("gh", "g"),
        ("sch", "s"),
        ("ck", "k"),
    ):
        text = f"regexp_replace({text}, '{spelt}', '{said}', 'g')"
    text = f"translate({text}, 'bfpvcgjkqsxzdtlmnrhwyeioua', '11112222222233455600000000')"
    for kind in "123456":
        text = f"regexp_replace({text}, '{kind}+', '{kind}', 'g')"
    return f"left({text}[1] || replace({text}[2:], '0', ''), 6)"


def _letters(code: str) -> str:
    """SQL: the signs of a code in order, equal for two codes that differ by swapped signs only."""
    return f"array_to_string(list_sort(string_split({code}, '')), '')"


@dataclass(frozen=True)
class _Column:
    """A derived column: SQL over `value`, the raw value of `source` as text."""

    name: str
    source: str
    sql: str


def _code(text: str) -> str:
    folded = (
        f"regexp_replace(regexp_replace(strip_accents(lower({text})), '\\.0$', ''), '[^a-z0-9]', '', 'g')"
    )
    placeholder = " or ".join(f"regexp_matches({folded}, '^{sign}+$')" for sign in "0123456789x")
    return (
        f"case when length({folded}) < 2 or ({placeholder}) or {folded} in ({_NOTHING}, '123456', '1234567', '12345678', "
        f"'123456789') then null else left({folded}, {_LONGEST}) end"
    )


def _date(text: str, month_first: bool) -> str:
    """SQL: yyyymmdd of a date; eight digits that are no date stay as they are, a typing error in them is still evidence."""
    first, second = ("%m", "%d") if month_first else ("%d", "%m")
    forms = [f"%Y{mark}%m{mark}%d" for mark in "-/."] + [f"{first}{mark}{second}{mark}%Y" for mark in "-/. "]
    forms += ["%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%Y-%m-%d %H:%M:%S"]
    digits = f"regexp_replace(regexp_replace({text}, '\\.0$', ''), '[^0-9]', '', 'g')"
    listed = ", ".join(f"'{form}'" for form in forms)
    return (
        f"case when regexp_matches({text}, '^[0-9]{{8}}(\\.0)?$') then {digits} "
        f"else coalesce(strftime(try_strptime(left(trim({text}), 19), [{listed}]), '%Y%m%d'), "
        f"case when length({digits}) between 6 and 8 then {digits} end) end"
    )


def _street_name(text: str) -> str:
    words = f"' ' || trim(regexp_replace(regexp_replace({_fold(text)}, '\\b[0-9]+[a-z]?\\b', ' ', 'g'), ' +', ' ', 'g')) || ' '"
    for short, long in _STREETS.items():
        words = f"replace({words}, ' {short} ', ' {long} ')"
    joined = f"replace({words}, ' ', '')"
    return f"case when {joined} in ({_NOTHING}) then null else left({joined}, {_LONGEST}) end"


def _derived(source: str, month_first: bool) -> list[_Column]:
    """Columns derived from one canonical column."""

    def one(sql: str, name: str = source) -> _Column:
        return _Column(name, source, sql)

    if source in ("given_name", "surname"):
        return [one(_known(f"replace({_name_fold('value')}, ' ', '')"))]
    if source == "company_name":
        folded = _fold("value")
        short = f"trim(regexp_replace({folded}, '\\b({_COMPANY})\\b', ' ', 'g'))"
        # A name of nothing but such words keeps them.
        spaced = f"regexp_replace(case when {short} = '' then {folded} else {short} end, ' +', ' ', 'g')"
        words = f"array_to_string(list_sort(list_distinct(string_split({spaced}, ' '))), ' ')"
        joined = f"replace({spaced}, ' ', '')"
        return [one(_known(joined)), one(f"left({words}, {_LONGEST_TEXT})", "company_words")]
    if source == "date_of_birth":
        return [one(_date("value", month_first))]
    if source == "phone":
        digits = "regexp_replace(value, '[^0-9]', '', 'g')"
        same = "|".join(f"{digit}{{7}}" for digit in "0123456789")
        placeholder = f"regexp_matches({digits}, '({same})$|123456789?0?$')"
        return [one(f"case when length({digits}) >= 7 and not {placeholder} then right({digits}, 8) end")]
    if source == "email":
        text = "replace(lower(trim(value)), ' ', '')"
        ok = f"regexp_matches({text}, '^[^@]+@[^@]+\\.[^@]+$')"
        relay = " or ".join(
            f"contains(split_part({text}, '@', 2) || '.', '{mark}')" for mark in RELAY_DOMAINS
        )
        local = f"split_part(split_part({text}, '@', 1), '+', 1)"
        mailbox = f"{local} || '@' || split_part({text}, '@', 2)"
        return [
            one(f"case when {ok} and not ({relay}) and {local} <> '' then left({mailbox}, {_LONGEST}) end"),
            one(
                f"case when {ok} and not ({relay}) then nullif(regexp_replace({local}, '[^a-z0-9]', '', 'g'), '') end",
                "email_name",
            ),
        ]
    if source == "street":
        number = "regexp_extract(value, '\\b([0-9]+)[a-zA-Z]?\\b', 1)"
        return [one(_street_name("value"), "street_name"), one(f"nullif({number}, '')", "street_digits")]
    if source == "street_number":
        return [
            one("nullif(regexp_replace(regexp_replace(lower(value), '\\.0$', ''), '[^0-9a-z]', '', 'g'), '')")
        ]
    if source == "address_2":
        return [one(_known(f"replace({_fold('value')}, ' ', '')"))]
    if source == "postcode":
        code = "regexp_replace(regexp_replace(lower(value), '\\.0$', ''), '[^0-9a-z]', '', 'g')"
        return [
            one(
                f"case when {code} in ({_NOTHING}, '0', '0000', '00000', '000000', '99999') then null else {code} end"
            )
        ]
    if source in ("city", "region", "country"):
        return [one(_known(f"replace({_fold('value')}, ' ', '')"))]
    if source in CODES:
        return [one(_code("value"))]
    raise KeyError(source)


def _full_name_columns() -> list[_Column]:
    """Given and family name out of one column: 'Family, Given', Chinese family names first, otherwise the last word."""

    def bare(text: str) -> str:
        return f"trim(regexp_replace(regexp_replace({_name_fold(text)}, '\\b({_TITLES})\\b', ' ', 'g'), ' +', ' ', 'g'))"

    whole, first, after = bare("value"), bare("split_part(value, ',', 1)"), bare("split_part(value, ',', 2)")
    words, before = f"string_split({whole}, ' ')", f"string_split({first}, ' ')"
    family = ", ".join(f"'{name}'" for name in _FAMILY)
    comma = f"(contains(value, ',') and {after} <> '' and len({before}) <= 3)"
    first_is = f"({words}[1] in ({family}) and {words}[-1] not in ({family}) and len({words}) <= 3)"
    surname = f"case when {comma} then {before}[-1] when {first_is} then {words}[1] else {words}[-1] end"
    given = (
        f"case when {comma} then replace({after}, ' ', '') || array_to_string({before}[:-2], '') "
        f"when {first_is} then array_to_string({words}[2:], '') else array_to_string({words}[:-2], '') end"
    )
    unknown = f"{whole} in ({_NOTHING})"
    return [
        _Column(
            "full_surname", "full_name", f"case when {unknown} then null else left({surname}, {_LONGEST}) end"
        ),
        _Column(
            "full_given",
            "full_name",
            f"case when {unknown} then null else left(nullif({given}, ''), {_LONGEST}) end",
        ),
    ]


def prepare(
    records: pa.Table, *, kinds: Mapping[str, Kind] | None = None, memory_limit: str = "2GB"
) -> pa.Table:
    """Bring records into comparable form.

    Args:
        records: any columns beside a unique text `record_id`; names as in `ALIASES` have a meaning, `source_system` is
            kept, names in `NOT_IDENTIFYING` are left out, any other column is compared by its content.
        kinds: content of the other columns as an earlier call found it (see `kinds_of`), so that new records are
            prepared like the old ones; found from the values when not given.
        memory_limit: what DuckDB may use.

    Returns:
        A table of text columns (numbers as float64): `record_id`, `source_system` if there was one, and the normal
        forms. Metadata of a column without a name of its own holds its `kind` and original `name`.

    Raises:
        ValueError: no `record_id`, or it is null or not unique; the message names the first.
    """
    if RECORD_ID not in records.column_names:
        raise ValueError(f"the records have no column {RECORD_ID}; name the column that identifies them")
    con = in_memory(memory_limit)
    try:
        con.register("raw", records)
        _refuse_unusable_ids(con)
        return _Preparation(con, records, dict(kinds or {})).run()
    finally:
        con.close()


def kinds_of(prepared: pa.Table) -> dict[str, Kind]:
    """Content of the columns that have no name of their own, by column of the prepared table."""
    found: dict[str, Kind] = {}
    for field in prepared.schema:
        if field.metadata and b"kind" in field.metadata:
            found[field.name] = cast(Kind, field.metadata[b"kind"].decode())
    return found


def _refuse_unusable_ids(con: duckdb.DuckDBPyConnection) -> None:
    missing = con.execute(f"select count(*) from raw where {RECORD_ID} is null").fetchall()[0][0]
    if missing:
        raise ValueError(f"{missing} records have no {RECORD_ID}; every record needs one")
    twice = con.execute(
        f"select {RECORD_ID}::text, count(*) from raw group by 1 having count(*) > 1 order by 1 limit 1"
    ).fetchall()
    if twice:
        raise ValueError(f"{RECORD_ID} {twice[0][0]!r} stands on {twice[0][1]} records; it must be unique")


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class _Preparation:
    def __init__(self, con: duckdb.DuckDBPyConnection, records: pa.Table, kinds: dict[str, Kind]) -> None:
        self.con, self.records, self.kinds = con, records, kinds
        self.by_lower: dict[str, str] = {}
        for name in records.column_names:
            self.by_lower.setdefault(name.lower(), name)
        self.distinct: dict[str, int] = {}
        self.names: dict[str, str] = {}

    def run(self) -> pa.Table:
        present = {name: self._sources(name) for name in ALIASES}
        present = {name: sources for name, sources in present.items() if sources}
        if (
            "name" in self.by_lower
            and present.get("full_name") == [self.by_lower["name"]]
            and not self._of_persons()
        ):
            present.setdefault("company_name", []).append(self.by_lower["name"])
            del present["full_name"]
        taken = {name for sources in present.values() for name in sources}
        others = [
            name
            for lower, name in self.by_lower.items()
            if name not in taken and lower not in NOT_IDENTIFYING and lower not in (RECORD_ID, SOURCE)
        ]
        self._load(present, others)
        columns = [column for name in present for column in self._columns(name)]
        generic = {name: self._kind(name) for name in others}
        columns += [self._generic(name, kind) for name, kind in generic.items() if kind is not None]
        labels = {self._slug(name): (name, kind) for name, kind in generic.items() if kind}
        return self._label(self._derive(columns, {slug: kind for slug, (_, kind) in labels.items()}), labels)

    def _sources(self, name: str) -> list[str]:
        return [self.by_lower[alias] for alias in ALIASES[name] if alias in self.by_lower]

    def _of_persons(self) -> bool:
        """Whether a column called `name` holds names of people: two or three words, no digits, few legal forms."""
        name = _quote(self.by_lower["name"])
        row = self.con.execute(
            f"""select count(*), count(*) filter (words between 2 and 3), count(*) filter (marked) from (
                select len(string_split(trim({name}::text), ' ')) as words,
                    regexp_matches(lower({name}::text), '[0-9&]|\\b({_COMPANY}|restaurant|cafe|grill|bar|hotel|shop|store)\\b')
                        as marked
                from raw where {name} is not null limit 20000)"""
        ).fetchall()[0]
        return bool(row[0] == 0 or (row[1] >= 0.7 * row[0] and row[2] <= 0.1 * row[0]))

    def _slug(self, name: str) -> str:
        """A plain identifier for a column of any name."""
        if name not in self.names:
            slug = "x_" + (re.sub(r"[^a-z0-9]+", "_", latin(name)).strip("_")[:40] or "column")
            while slug in self.names.values():
                slug += "_"
            self.names[name] = slug
        return self.names[name]

    def _load(self, present: dict[str, list[str]], others: list[str]) -> None:
        """Table `source`: canonical columns as text, first value of their aliases, other scripts in Latin letters."""
        select = [f"{RECORD_ID}::text as {RECORD_ID}"]
        if SOURCE in self.by_lower:
            select.append(f"{_quote(self.by_lower[SOURCE])}::text as {SOURCE}")
        for name, sources in present.items():
            values = ", ".join(f"nullif(trim({self._text(source)}), '')" for source in sources)
            select.append(f"coalesce({values}) as {name}")
        select += [f"nullif(trim({self._text(name)}), '') as {self._slug(name)}" for name in others]
        self.con.execute(f"create table source as select {', '.join(select)} from raw")
        if "full_name" in present:
            self._tell_firms(present)
        columns = [*present, *(self._slug(name) for name in others)]
        if columns:
            counts = ", ".join(f"approx_count_distinct({name})" for name in columns)
            foreign = ", ".join(
                f"count(*) filter (regexp_matches({name}, '[^\\x00-\\x{{024F}}]'))" for name in columns
            )
            row = self.con.execute(f"select {counts}, {foreign} from source").fetchall()[0]
            self.distinct = dict(zip(columns, row[: len(columns)], strict=True))
            for name, count in zip(columns, row[len(columns) :], strict=True):
                if count:
                    self._romanise(name)

    def _tell_firms(self, present: dict[str, list[str]]) -> None:
        """A company's own name is nobody's given and family name."""
        legal = f"regexp_matches({_fold('full_name')}, ' ({_LEGAL})$') or regexp_matches(full_name, '{_CJK_FIRM}')"
        if "company_name" not in present:
            if not self.con.execute(f"select count(*) from source where {legal}").fetchall()[0][0]:
                return
            self.con.execute("alter table source add column company_name text")
            present["company_name"] = []
        self.con.execute(
            f"update source set company_name = full_name where company_name is null and ({legal})"
        )
        self.con.execute(
            f"update source set full_name = null where lower(full_name) = lower(company_name) or ({legal})"
        )

    def _text(self, source: str) -> str:
        kind = self.records.schema.field(source).type
        quoted = _quote(source)
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return f"strftime({quoted}, '%Y-%m-%d')"
        return f"{quoted}::text"

    def _romanise(self, name: str) -> None:
        """Replace values in other scripts by Latin letters, once per distinct value."""
        values = [
            row[0]
            for row in self.con.execute(
                f"select distinct {name} from source where regexp_matches({name}, '[^\\x00-\\x{{024F}}]')"
            ).fetchall()
        ]
        written = _FROM_SCRIPTS.get(name, latin)
        spelt = pa.table(
            {"raw_value": pa.array(values, pa.string()), "spelt": pa.array(map(written, values), pa.string())}
        )
        self.con.register("spellings", spelt)
        self.con.execute(f"update source set {name} = spelt from spellings where {name} = raw_value")
        self.con.unregister("spellings")

    def _columns(self, name: str) -> list[_Column]:
        if name == "full_name":
            return _full_name_columns()
        return _derived(name, self._month_first(name) if name == "date_of_birth" else False)

    def _month_first(self, name: str) -> bool:
        """Whether the dates of a column read 12/31/1999: more second parts above twelve than first parts."""
        pattern = "'^([0-9]{1,2})[-/. ]([0-9]{1,2})[-/. ][0-9]{4}'"
        row = self.con.execute(
            f"""select count(*) filter (try_cast(regexp_extract({name}, {pattern}, 1) as int) > 12),
                count(*) filter (try_cast(regexp_extract({name}, {pattern}, 2) as int) > 12) from source"""
        ).fetchall()[0]
        return bool(row[1] > row[0])

    def _kind(self, name: str) -> Kind | None:
        """What a column without a name of its own holds; None where it cannot tell records apart."""
        slug = self._slug(name)
        if slug in self.kinds:
            return self.kinds[slug]
        if self.kinds or self.distinct[slug] < 2:
            return None
        row = self.con.execute(
            f"""select count(*), count(try_cast(value as double)), count(*) filter (regexp_matches(value, '^0[0-9]')),
                count(*) filter (regexp_matches(value, '^(19|20)[0-9]{{2}}-[0-9]{{2}}-[0-9]{{2}}|^[0-9]{{1,2}}[./-][0-9]{{1,2}}[./-][0-9]{{4}}$')),
                count(*) filter (regexp_matches(value, '[0-9]') and not contains(value, ' ')), count(distinct length(value)),
                count(*) filter (regexp_matches(value, '[.,]'))
            from (select {slug} as value from source where {slug} is not null limit 50000)"""
        ).fetchall()[0]
        known, numbers, zeros, dates, codes, lengths, fractions = row
        if dates >= 0.9 * known:
            return "date"
        if numbers >= 0.95 * known:
            whole_codes = fractions == 0 and (
                zeros > 0 or (lengths <= 2 and self.distinct[slug] > 0.5 * known > 20)
            )
            return "code" if whole_codes else "number"
        return "code" if codes >= 0.8 * known else "text"

    def _generic(self, name: str, kind: Kind) -> _Column:
        slug = self._slug(name)
        if kind == "number":
            return _Column(slug, slug, "try_cast(value as double)")
        if kind == "date":
            return _Column(slug, slug, _date("value", self._month_first(slug)))
        if kind == "code":
            return _Column(slug, slug, _code("value"))
        return _Column(slug, slug, _known(_fold("value"), _LONGEST_TEXT))

    def _derive(self, columns: list[_Column], kinds: Mapping[str, Kind]) -> pa.Table:
        """The prepared table; columns whose values repeat are derived once per distinct value."""
        total = self.con.execute("select count(*) from source").fetchall()[0][0]
        select, joins = [f"source.{RECORD_ID}"], []
        if SOURCE in self.by_lower:
            select.append(f"source.{SOURCE}")
        for source in dict.fromkeys(column.source for column in columns):
            own = [column for column in columns if column.source == source]
            if self.distinct[source] < 0.3 * total:
                forms = ", ".join(f"{column.sql} as {column.name}" for column in own)
                self.con.execute(
                    f"create table forms_{source} as select value, {forms} from "
                    f"(select distinct {source} as value from source where {source} is not null)"
                )
                joins.append(f"left join forms_{source} on source.{source} = forms_{source}.value")
                select += [f"forms_{source}.{column.name}" for column in own]
            else:
                named = re.compile(r"\bvalue\b")
                select += [f"{named.sub(f'source.{source}', column.sql)} as {column.name}" for column in own]
        self.con.execute(f"create table forms as select {', '.join(select)} from source {' '.join(joins)}")
        return self._finish([column.name for column in columns], kinds)

    def _finish(self, names: list[str], kinds: Mapping[str, Kind]) -> pa.Table:
        """Join what two columns say of one thing, and add the keys that blocking uses."""
        have = set(names)
        select = [RECORD_ID] + ([SOURCE] if SOURCE in self.by_lower else [])
        given, surname = _either(have, "given_name", "full_given"), _either(have, "surname", "full_surname")
        if "given_name" in have and "surname" in have and "full_surname" in have:
            # One column is not mixed with the split of the other: half of each may be the same word.
            split = "given_name is null and surname is null"
            given = f"case when {split} then full_given else given_name end"
            surname = f"case when {split} then full_surname else surname end"
        if given:
            select.append(f"{given} as given_name")
        if surname:
            select.append(f"{surname} as surname")
        number = _either(have, "street_number", "street_digits")
        if number:
            select.append(f"{number} as street_number")
        skip = {"given_name", "surname", "full_given", "full_surname", "street_number", "street_digits"}
        select += [name for name in names if name not in skip]
        self.con.execute(f"create table joined as select {', '.join(select)} from forms")
        keys = _keys([name.rsplit(" as ", 1)[-1] for name in select], kinds)
        everything = ", ".join(["joined.*", *(f"{sql} as {name}" for name, sql in keys.items())])
        short = ""
        if given:
            self._load_short_forms()
            everything += ", short_forms.given_name_forms"
            short = " left join short_forms on short_forms.short_form = joined.given_name"
        table: pa.Table = self.con.sql(f"select {everything} from joined{short}").to_arrow_table()
        return table

    def _load_short_forms(self) -> None:
        """Table `short_forms`: for each given name that is short for others, or has short forms, all of them."""
        named = [
            row[0] for row in self.con.execute("select distinct given_name from joined").fetchall() if row[0]
        ]
        forms = {name: full_forms(name) for name in named}
        known = {name: " ".join(sorted(found)) for name, found in forms.items() if len(found) > 1}
        table = pa.table(
            {
                "short_form": pa.array(list(known), pa.string()),
                "given_name_forms": pa.array(list(known.values()), pa.string()),
            }
        )
        self.con.register("short_form_values", table)
        self.con.execute("create table short_forms as select * from short_form_values")
        self.con.unregister("short_form_values")

    def _label(self, table: pa.Table, generic: Mapping[str, tuple[str, Kind]]) -> pa.Table:
        fields = []
        for field in table.schema:
            if field.name in generic:
                name, kind = generic[field.name]
                field = field.with_metadata({"kind": kind, "name": name})
            fields.append(field)
        return table.cast(pa.schema(fields))


def _either(have: set[str], *names: str) -> str | None:
    known = [name for name in names if name in have]
    return f"coalesce({', '.join(known)})" if known else None


def _keys(columns: list[str], kinds: Mapping[str, Kind]) -> dict[str, str]:
    """Coarser forms of the columns, for blocking and to see swapped signs: name -> SQL."""
    keys: dict[str, str] = {}
    halved = {*CODES, "phone", "date_of_birth", "postcode"} | {
        name for name, kind in kinds.items() if kind != "number"
    }
    ordered = {*CODES, "phone", "date_of_birth", "postcode"} | {
        name for name, kind in kinds.items() if kind in ("code", "date")
    }
    for name in columns:
        if name in ("given_name", "surname"):
            keys[f"{name}_sound"] = _sound(name)
            keys[f"{name}_head"] = f"left({name}, 3)"
        elif name in ("company_name", "address_2", "street_name", "city", "email_name"):
            keys[f"{name}_head"] = f"left({name}, 5)"
        elif name in halved:
            keys[f"{name}_head"] = f"left({name}, least(greatest(length({name}) // 2, 1), 20))"
            keys[f"{name}_tail"] = f"right({name}, least(greatest(length({name}) // 2, 1), 20))"
        if name in ordered:
            keys[f"{name}_signs"] = _letters(name)
    if {"given_name", "surname"} <= set(columns):
        keys["name_either_way"] = "least(given_name, surname) || ' ' || greatest(given_name, surname)"
    return keys
