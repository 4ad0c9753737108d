"""Check many rows of one record model column by column.

Columns repeat their values, so each distinct value is validated by the field's own pydantic type and normalised once, and
rows are put together by Arrow. Texts without a rule, and times and amounts in the usual spelling, Arrow reads itself. What comes out is
what validating row by row gives: the same columns and the same record hashes. Rows with a value that does not fit, or that
is unusual, are only pointed out; the caller takes them one by one, for the reasons in full.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import compress, pairwise
from operator import itemgetter
from types import NoneType
from typing import Annotated, Any, Literal, get_args

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute
from annotated_types import Ge, MinLen
from numpy.typing import NDArray
from pydantic import AliasPath, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from connectors.column import Column, Instant
from connectors.declare import Record

pc: Any = pyarrow.compute  # the stubs know fewer argument types than these functions take

_HASH_DIGITS = 32
_MISFITS = (pa.ArrowException, ValueError, TypeError, OverflowError)
# Times that pydantic and Arrow read alike; Arrow refuses the days that a month does not have.
_USUAL_INSTANT = (
    r"^[12]\d{3}-[01]\d-[0-3]\dT([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$"
)


class _Absent:
    """Stands where a raw row has no such field."""


_ABSENT = _Absent()
# Equal values of these are one value. Not decimals, whose zeros at the end are part of how they are spelled.
_HASHABLE = {str, int, bool, float, date, datetime, NoneType, _Absent}


@dataclass(frozen=True)
class Coded:
    """A column as its distinct values, `values` (d,), and which of them each row has, `codes` (n,) from 0 to d - 1."""

    values: list[Any]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, column: Sequence[Any] | pa.Array[Any]) -> Coded:
        """Find the distinct values of a column; values of two types, such as 1 and 1.0, are never one."""
        if not isinstance(column, pa.Array):
            kinds = set(map(type, column))
            if not kinds <= _HASHABLE:
                return cls(list(column), np.arange(len(column)))
            if not (kinds <= {str, NoneType} or kinds <= {int, NoneType}):
                return cls._of_mixed(column)
            values = column
            try:
                column = pa.array(values, pa.int64() if int in kinds else pa.string())
            except (UnicodeEncodeError, OverflowError):  # a lone surrogate, an integer over 64 bits
                return cls._of_mixed(values)
        if isinstance(column, pa.DictionaryArray):
            column = column.dictionary_decode()
        try:
            coded: Any = pc.dictionary_encode(column, null_encoding="encode")
        except pa.ArrowNotImplementedError:
            return cls._of_mixed(column.to_pylist())
        return cls(
            coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        )

    @classmethod
    def _of_mixed(cls, column: Sequence[Any]) -> Coded:
        seen: dict[Any, int] = {}
        values: list[Any] = []
        codes = np.empty(len(column), np.int64)
        for position, value in enumerate(column):
            # By its digits, since 0.0 equals -0.0 and nan not even itself.
            known = (type(value), repr(value) if isinstance(value, float) else value)
            code = seen.setdefault(known, len(values))
            if code == len(values):
                values.append(value)
            codes[position] = code
        return cls(values, codes)

    @classmethod
    def constant(cls, value: Any, count: int) -> Coded:
        """A column that has one value in each of `count` rows."""
        return cls([value], np.zeros(count, np.int64))

    def map(self, read: Callable[[Any], Any]) -> Coded:
        """The column with each distinct value read anew."""
        return Coded([read(value) for value in self.values], self.codes)

    def at(self, row: int) -> Any:
        """The value of one row."""
        return self.values[self.codes[row]]


def combine(columns: Sequence[Coded], compute: Callable[..., Any]) -> Coded:
    """A column computed from others, once per combination of values that occurs."""
    together = columns[0].codes
    for column in columns[1:]:
        together = together * len(column.values) + column.codes
    _, first, codes = np.unique(together, return_index=True, return_inverse=True)
    values = [compute(*(column.at(int(row)) for column in columns)) for row in first]
    return Coded(values, codes.astype(np.int64))


@dataclass(frozen=True)
class Checked:
    """Rows after the check.

    `fits` (n,) tells which rows are in `columns` (landing column -> values, companions included) and in `record_hashes`,
    in the order they came. The others are for the caller.
    """

    fits: NDArray[np.bool_]
    columns: dict[str, pa.Array[Any]]
    record_hashes: pa.Array[Any]


@dataclass(frozen=True)
class _Field:
    """What is to be known of a record's field.

    `path` leads to it in a raw row. `straight`: what Arrow may read at once, a whole column of texts, times or decimals;
    these are no shorter than `shortest` and no less than `least`.
    """

    name: str
    path: tuple[str, ...]
    info: FieldInfo
    column: Column
    straight: Literal["text", "instant", "decimal"] | None
    is_nullable: bool
    shortest: int = 0
    least: int | None = None


def can_check(record: type[Record]) -> bool:
    """Whether a record's fields are validated each on its own, so that a column may be."""
    return _fields(record) is not None


@lru_cache(maxsize=512)
def _fields(record: type[Record]) -> tuple[_Field, ...] | None:
    found = record.__pydantic_decorators__
    if record.model_config != Record.model_config or any(
        (
            found.validators, found.field_validators, found.root_validators, found.model_validators,
            found.field_serializers, found.model_serializers, found.computed_fields,
        )
    ):  # fmt: skip
        return None
    columns = record.columns()
    fields = []
    for name, info in record.model_fields.items():
        alias = info.validation_alias or name
        path = tuple(alias.path) if isinstance(alias, AliasPath) else (alias,)
        if not all(isinstance(step, str) for step in path):
            return None
        fields.append(_field(name, path, info, columns[name]))  # type: ignore[arg-type]
    return tuple(fields)


def _field(name: str, path: tuple[str, ...], info: FieldInfo, column: Column) -> _Field:
    kind, rules = info.annotation, list(info.metadata)
    is_nullable = False
    if not rules and NoneType in get_args(kind):
        is_nullable = True
        (kind,) = (
            (arm for arm in get_args(kind) if arm is not NoneType) if len(get_args(kind)) == 2 else (Any,)
        )
        if get_args(kind) and hasattr(kind, "__metadata__"):
            inner = FieldInfo.from_annotation(kind)
            kind, rules = inner.annotation, list(inner.metadata)
    if rules and rules == FieldInfo.from_annotation(Instant).metadata:
        return _Field(name, path, info, column, "instant", is_nullable)
    others = [rule for rule in rules if not isinstance(rule, Column)]
    if kind is str and column.arrow == pa.string() and column.encode is None:
        lengths = [rule.min_length for rule in others if isinstance(rule, MinLen)]
        if len(lengths) == len(others):
            return _Field(name, path, info, column, "text", is_nullable, shortest=max(lengths, default=0))
    if kind is Decimal and isinstance(column.arrow, pa.Decimal128Type) and not column.companions:
        bounds = [rule.ge for rule in others if isinstance(rule, Ge) and isinstance(rule.ge, int)]
        sizes = [getattr(rule, "__dict__", None) for rule in others if not isinstance(rule, Ge)]
        size = {"max_digits": column.arrow.precision, "decimal_places": column.arrow.scale}
        if sizes == [size] and len(bounds) + 1 == len(others):
            return _Field(name, path, info, column, "decimal", is_nullable, least=max(bounds, default=None))
    return _Field(name, path, info, column, None, is_nullable)


def check(
    record: type[Record], schema: pa.Schema, columns: Mapping[str, Coded], odd: NDArray[np.bool_]
) -> Checked:
    """Validate rows column by column.

    Args:
        record: the model; `can_check` holds for it.
        schema: the landing columns.
        columns: field -> values as the model would receive them; a field that is left out takes its default.
        odd: (n,) rows that the caller wants to take one by one.
    """
    fits = ~odd
    landed: dict[str, tuple[pa.Array[Any], NDArray[np.int64]]] = {}
    for field in _fields(record) or ():
        coded = columns.get(field.name, Coded.constant(_ABSENT, len(odd)))
        arrays, are_good = _by_value(record, field, schema, coded.values)
        landed |= {name: (array, coded.codes) for name, array in arrays.items()}
        if not are_good.all():
            fits &= are_good[coded.codes]
    texts, are_spelled = _spelled(columns, len(odd))
    fits &= are_spelled
    rows = np.flatnonzero(fits)
    return Checked(
        fits,
        {name: pc.take(array, pa.array(codes[rows])) for name, (array, codes) in landed.items()},
        _hashed(texts, rows),
    )


def check_rows(
    record: type[Record], schema: pa.Schema, rows: Sequence[dict[str, Any]], record_hashes: pa.Array[Any]
) -> Checked:
    """Validate raw rows, as they were decoded from JSON, column by column.

    Args:
        record: the model; `can_check` holds for it.
        schema: the landing columns.
        rows, record_hashes: (n,) each, in step.
    """
    fits = np.ones(len(rows), np.bool_)
    columns: dict[str, pa.Array[Any]] = {}
    objects: dict[tuple[str, ...], Sequence[Any]] = {(): rows}
    for field in _fields(record) or ():
        values = _read(objects, field.path, field.name)
        arrays = _straight(field, values)
        if arrays is None:
            coded = Coded.of(values)
            by_value, are_good = _by_value(record, field, schema, coded.values)
            codes = pa.array(coded.codes)
            arrays = {name: pc.take(array, codes) for name, array in by_value.items()}
            fits &= are_good[coded.codes]
        columns |= arrays
    if not fits.all():
        kept = pa.array(fits)
        columns = {name: array.filter(kept) for name, array in columns.items()}
        record_hashes = record_hashes.filter(kept)
    return Checked(fits, columns, record_hashes)


def _read(
    objects: dict[tuple[str, ...], Sequence[Any]], path: tuple[str, ...], name: str | None = None
) -> list[Any]:
    """The values at a path, or by the field's `name`, which also may fill it.

    `objects` keeps those on the way for the fields that follow.
    """
    *way, last = path
    for depth in range(1, len(way) + 1):
        if (place := path[:depth]) not in objects:
            objects[place] = [found if type(found) is dict else {} for found in _read(objects, place)]
    within = objects[tuple(way)]
    try:
        return list(map(itemgetter(last), within))
    except KeyError:
        values = [found.get(last, _ABSENT) for found in within]
    if name is None or path == (name,):
        return values
    return [
        row.get(name, _ABSENT) if value is _ABSENT else value
        for value, row in zip(values, objects[()], strict=True)
    ]


def _straight(field: _Field, values: list[Any]) -> dict[str, pa.Array[Any]] | None:
    """The landing columns of values that Arrow reads as pydantic would; None where there may be one that it does not."""
    if field.straight is None:
        return None
    texts = _texts(field, values)
    if texts is None or (texts.null_count and not field.is_nullable):
        return None
    if field.shortest and pc.any(pc.less(pc.utf8_length(texts), field.shortest)).as_py():
        return None
    if field.straight == "text":
        return {field.name: texts, **_companions(field, texts)}
    coded: Any = pc.dictionary_encode(texts)
    distinct = coded.dictionary
    usual = _USUAL_INSTANT if field.straight == "instant" else _usual_decimal(field.column.arrow)
    if len(distinct) and not pc.all(pc.match_substring_regex(distinct, usual)).as_py():
        return None
    try:
        found = pc.cast(distinct, field.column.arrow)
    except pa.ArrowInvalid:  # 30 February
        return None
    if field.straight == "decimal":
        is_less = field.least is not None and pc.any(pc.less(found, field.least)).as_py()
        return None if is_less else {field.name: pc.take(found, coded.indices)}
    minutes = _by_distinct(pc.utf8_slice_codeunits(distinct, -6), _offset_minutes, pa.int16())
    return {
        field.name: pc.take(found, coded.indices),
        f"{field.name}_offset_minutes": pc.take(minutes, coded.indices),
    }


def _texts(field: _Field, values: list[Any]) -> pa.Array[Any] | None:
    """A field's values as texts; None where one is neither a text nor what pydantic takes for one here."""
    try:
        return pa.array(values, pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):  # not only texts, or a lone surrogate
        kinds = set(map(type, values))
    if _Absent in kinds:
        if field.info.is_required() or field.info.get_default(call_default_factory=True) is not None:
            return None
        values = [None if value is _ABSENT else value for value in values]
        kinds.remove(_Absent)
    if field.straight != "instant" and kinds == {int}:
        try:
            digits: pa.Array[Any] = pc.cast(pa.array(values, pa.int64()), pa.string())
            return digits
        except OverflowError:
            values = [None if value is None else str(value) for value in values]
    elif not kinds <= {str, NoneType}:
        return None
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        return None


@lru_cache(maxsize=16)
def _usual_decimal(kind: pa.Decimal128Type) -> str:
    """Decimals that pydantic and Arrow read alike, and that fit."""
    return rf"^-?\d{{1,{kind.precision - kind.scale}}}(\.\d{{1,{kind.scale}}})?$"


def _companions(field: _Field, texts: pa.Array[Any]) -> dict[str, pa.Array[Any]]:
    return {
        f"{field.name}_{item.suffix}": _by_distinct(texts, item.compute, item.arrow)
        for item in field.column.companions
    }


def _by_distinct(texts: pa.Array[Any], compute: Callable[[str], Any], kind: pa.DataType) -> pa.Array[Any]:
    """A column computed from texts, once for each that occurs; null where there is none."""
    coded = pc.dictionary_encode(texts)
    found: pa.Array[Any] = pc.take(
        pa.array([compute(text) for text in coded.dictionary.to_pylist()], kind), coded.indices
    )
    return found


def _offset_minutes(text: str) -> int:
    """Minutes of an offset, the last six characters of an ISO 8601 time, such as `+08:00`; those of `Z` are 0."""
    if text.endswith("Z"):
        return 0
    minutes = int(text[1:3]) * 60 + int(text[4:])
    return -minutes if text[0] == "-" else minutes


def _by_value(
    record: type[Record], field: _Field, schema: pa.Schema, values: list[Any]
) -> tuple[dict[str, pa.Array[Any]], NDArray[np.bool_]]:
    """The landing columns of distinct values, each validated by the field's own type; and which of them pass."""
    is_there = np.array([value is not _ABSENT for value in values], np.bool_)
    found, are_good = _validated(_adapter(record, field.name), list(compress(values, is_there)))
    if not is_there.all():
        passed = zip(found, are_good, strict=True)
        default = (None, False)
        if not field.info.is_required():
            default = (field.info.get_default(call_default_factory=True), True)
        pairs = [next(passed) if there else default for there in is_there]
        found, are_good = [pair[0] for pair in pairs], np.array([pair[1] for pair in pairs], np.bool_)
    arrays = {}
    for name, cells in _spread(field.name, field.column, found).items():
        arrays[name], are_held = _held(cells, schema.field(name).type)
        are_good &= are_held
    return arrays, are_good


@lru_cache(maxsize=512)
def _adapter(record: type[Record], name: str) -> TypeAdapter[list[Any]]:
    field = record.model_fields[name]
    kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    config = ConfigDict(coerce_numbers_to_str=bool(record.model_config.get("coerce_numbers_to_str")))
    return TypeAdapter(list[kind], config=config)


def _validated(adapter: TypeAdapter[list[Any]], values: list[Any]) -> tuple[list[Any], NDArray[np.bool_]]:
    """Validated values, None where one does not pass; and which pass."""
    are_good = np.ones(len(values), np.bool_)
    try:
        return adapter.validate_python(values), are_good
    except ValidationError as error:
        # One fault or several per value; what the list's items are numbered by comes first.
        bad = {
            int(item["loc"][0])
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        }
    are_good[sorted(bad)] = False
    passed = iter(
        adapter.validate_python([value for value, is_good in zip(values, are_good, strict=True) if is_good])
    )
    return [next(passed) if is_good else None for is_good in are_good], are_good


def _spread(name: str, column: Column, values: list[Any]) -> dict[str, list[Any]]:
    """The landing columns of a field: itself, and its companions."""
    spread = {
        f"{name}_{companion.suffix}": [
            None if value is None else companion.compute(value) for value in values
        ]
        for companion in column.companions
    }
    if column.encode is not None:
        values = [None if value is None else column.encode(value) for value in values]
    return {name: values, **spread}


def _held(values: list[Any], kind: pa.DataType) -> tuple[pa.Array[Any], NDArray[np.bool_]]:
    """Values as an Arrow array, and which of them its type can hold."""
    are_held = np.ones(len(values), np.bool_)
    try:
        return pa.array(values, kind), are_held
    except _MISFITS:
        for position, value in enumerate(values):
            try:
                pa.array([value], kind)
            except _MISFITS:
                are_held[position] = False
    return pa.array(
        [value if held else None for value, held in zip(values, are_held, strict=True)], kind
    ), are_held


def _spelled(
    columns: Mapping[str, Coded], count: int
) -> tuple[list[tuple[pa.Array[Any], NDArray[np.int64]]], NDArray[np.bool_]]:
    """Each field's part of a row's JSON text, names in order, as `extract.payload_text` spells it; and the rows it can be for."""
    are_spelled = np.ones(count, np.bool_)
    parts: list[tuple[pa.Array[Any], NDArray[np.int64]]] = []
    names = sorted(columns)
    for name in names:
        opening = ("{" if name == names[0] else ",") + orjson.dumps(name).decode() + ":"
        closing = "}" if name == names[-1] else ""
        spellings = []
        for position, value in enumerate(columns[name].values):
            try:
                spellings.append(f"{opening}{orjson.dumps(value, default=str).decode()}{closing}")
            except TypeError:  # an integer over 64 bits, a lone surrogate: the row is spelled another way
                spellings.append("")
                are_spelled &= columns[name].codes != position
        parts.append((pa.array(spellings, pa.string()), columns[name].codes))
    return parts, are_spelled


def _hashed(
    parts: Sequence[tuple[pa.Array[Any], NDArray[np.int64]]], rows: NDArray[np.intp]
) -> pa.Array[Any]:
    """Record hashes of rows, as `extract.record_hash` gives them."""
    if not len(rows):
        return pa.array([], pa.string())
    texts = pc.binary_join_element_wise(
        *(pc.take(array, pa.array(codes[rows])) for array, codes in parts), ""
    )
    _, ends, characters = texts.buffers()
    offsets = np.frombuffer(ends, np.int32)[texts.offset : texts.offset + len(texts) + 1].tolist()
    whole = memoryview(characters)
    return hex_texts(
        [
            hashlib.blake2b(whole[start:end], digest_size=_HASH_DIGITS // 2).digest()
            for start, end in pairwise(offsets)
        ]
    )


def hex_texts(digests: Sequence[bytes]) -> pa.Array[Any]:
    """Record hashes as texts, from their (n,) digests of 16 bytes."""
    places = np.arange(0, (len(digests) + 1) * _HASH_DIGITS, _HASH_DIGITS, dtype=np.int32)
    digits = b"".join(digests).hex().encode()
    return pa.StringArray.from_buffers(len(digests), pa.py_buffer(places.tobytes()), pa.py_buffer(digits))
