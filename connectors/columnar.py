"""Check many rows of one record model column by column.

The columns of a file repeat their values, so each distinct value is mapped, validated by the field's own pydantic type,
normalised and spelled once, and rows are put together by Arrow. What comes out is what validating row by row gives: the
same columns and the same record hashes. Rows with a value that does not fit, or that is unusual, are only pointed out; the
caller takes them one by one, for the reasons in full.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError

from connectors.column import Column
from connectors.declare import Record

pc: Any = pyarrow.compute  # the stubs know fewer argument types than these functions take

_HASH_DIGITS = 32
_MISFITS = (pa.ArrowException, ValueError, TypeError, OverflowError)


@dataclass(frozen=True)
class Coded:
    """A column as its distinct values, `values` (d,), and which of them each row has, `codes` (n,) from 0 to d - 1."""

    values: list[Any]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, column: Sequence[Any] | pa.Array[Any]) -> Coded:
        """Find the distinct values of a column; values of two types, such as 1 and 1.0, are never one."""
        if not isinstance(column, pa.Array):
            if not all(item is None or type(item) is str for item in column):
                return cls._of_mixed(column)
            column = pa.array(column, pa.string())
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


def can_check(record: type[Record]) -> bool:
    """Whether a record's fields are validated each on its own, so that a column may be."""
    found = record.__pydantic_decorators__
    return not any(
        (
            found.validators, found.field_validators, found.root_validators, found.model_validators,
            found.field_serializers, found.model_serializers, found.computed_fields,
        )
    ) and all(field.validation_alias is None for field in record.model_fields.values())  # fmt: skip


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
    declared = record.columns()
    for name, field in record.model_fields.items():
        coded = columns.get(name)
        if coded is None:
            if field.is_required():
                return Checked(np.zeros(len(odd), np.bool_), {}, pa.array([], pa.string()))
            default = field.get_default(call_default_factory=True)
            values, are_good = [default], np.ones(1, np.bool_)
            codes = np.zeros(len(odd), np.int64)
        else:
            values, are_good = _validated(_adapter(record, name), coded.values)
            codes = coded.codes
        for column, cells in _spread(name, declared[name], values, are_good).items():
            array, are_held = _held(cells, schema.field(column).type)
            are_good &= are_held
            landed[column] = (array, codes)
        if not are_good.all():
            fits &= are_good[codes]
    texts, are_spelled = _spelled(columns, len(odd))
    fits &= are_spelled
    rows = np.flatnonzero(fits)
    return Checked(
        fits,
        {name: pc.take(array, pa.array(codes[rows])) for name, (array, codes) in landed.items()},
        _hashed(texts, rows),
    )


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


def _spread(
    name: str, column: Column, values: list[Any], are_good: NDArray[np.bool_]
) -> dict[str, list[Any]]:
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
    digests = b"".join(
        [
            hashlib.blake2b(whole[start:end], digest_size=_HASH_DIGITS // 2).digest()
            for start, end in pairwise(offsets)
        ]
    )
    places = pa.py_buffer(
        np.arange(0, (len(rows) + 1) * _HASH_DIGITS, _HASH_DIGITS, dtype=np.int32).tobytes()
    )
    return pa.StringArray.from_buffers(len(rows), places, pa.py_buffer(digests.hex().encode()))
