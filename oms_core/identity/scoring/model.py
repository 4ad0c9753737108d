"""A frozen scoring model: which fields are compared how, and how much each outcome of a comparison weighs."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

FORMAT = 1
_SHIPPED = Path(__file__).parent / "models"

Kind = Literal["text", "number", "date", "code"]


class ModelError(ValueError):
    """A model cannot be read or does not fit the records; the message says what to do."""


class Level(BaseModel):
    """One outcome of a comparison; the first whose test holds counts.

    `test` is a condition in SQL over `<column>_l` and `<column>_r`, in the part of the language that DuckDB, PostgreSQL and
    Spark share. An empty test is what is left. `m` is how often two records of one entity come out here, `u` how often
    two records of different entities do, both among pairs in which the field is known. A neutral level weighs nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    test: str
    m: float = Field(gt=0, le=1)
    u: float = Field(gt=0, le=1)
    frequency: str | None = None
    neutral: bool = False

    @property
    def weight(self) -> float:
        """log2(m / u): bits for (positive) or against (negative) one entity."""
        return 0.0 if self.neutral else math.log2(self.m / self.u)


class Comparison(BaseModel):
    """How one field is compared. `unknown` is the SQL condition under which it says nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str
    columns: tuple[str, ...]
    unknown: str
    levels: tuple[Level, ...]

    @property
    def top(self) -> int:
        """Place in `levels` of the strongest agreement."""
        return next((at for at, level in enumerate(self.levels) if not level.neutral), 0)

    @property
    def agrees_on(self) -> str | None:
        """The column that the strongest agreement is the equality of; None where it is anything else."""
        test = self.levels[self.top].test
        return next((column for column in self.columns if test == f"{column}_l = {column}_r"), None)


class Frequencies(BaseModel):
    """Of the common values of a column, how often two records of different entities come out at the level that agrees on
    it, given that one of them has that value. The level's own `u` is for all other values."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    values: dict[str, float]


class Model(BaseModel):
    """All that a score depends on beside the two records themselves. Canonical JSON; equal models have equal `sha256`.

    Attributes:
        entity: customer, location or generic.
        version: name of this model, unique per content only with `sha256`.
        trained_on: what it was estimated from, in words.
        records: how many records that was; 0 for stated priors.
        prior: probability that two records drawn at random are one entity.
        comparisons: fields and their levels.
        blocks: sets of columns; two records that agree on all columns of any set become a candidate pair.
        most_in_block: a block of more records than this is cut.
        frequencies: common values by column.
        kinds: content of columns this package has no name for, so that new records are prepared alike.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    entity: str
    version: str
    trained_on: str
    records: int = Field(ge=0)
    prior: float = Field(gt=0, lt=1)
    comparisons: tuple[Comparison, ...]
    blocks: tuple[tuple[str, ...], ...]
    most_in_block: int = Field(ge=2)
    frequencies: dict[str, Frequencies]
    kinds: dict[str, Kind] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known_format(self) -> Self:
        if self.format != FORMAT:
            raise ValueError(f"this is a model of format {self.format}; this version reads format {FORMAT}")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the prepared table that scoring reads, in order of first use."""
        return tuple(dict.fromkeys([*self.compared, *(column for block in self.blocks for column in block)]))

    @property
    def compared(self) -> tuple[str, ...]:
        """Those of them that comparisons read; the others only make blocks."""
        return tuple(
            dict.fromkeys(column for comparison in self.comparisons for column in comparison.columns)
        )

    @property
    def prior_weight(self) -> float:
        """log2 odds that two records drawn at random are one entity: where the sum of a pair's weights starts."""
        return math.log2(self.prior / (1 - self.prior))

    def canonical(self) -> str:
        """JSON with one line per level, the same text for the same model."""
        return self.model_dump_json(indent=1) + "\n"

    @property
    def sha256(self) -> str:
        """Fingerprint of the canonical JSON, in hexadecimal."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write the canonical JSON."""
        path.write_text(self.canonical(), encoding="utf-8")


def load(path: Path) -> Model:
    """Read a model.

    Raises:
        ModelError: there is none, or it is not a model of this format.
    """
    try:
        return Model.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"there is no model at {path}; name the JSON file of a trained model") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is no model of format {FORMAT}: {error}; train it again") from error


def shipped(entity: str) -> Model:
    """The frozen model that comes with the package, of the highest number.

    Raises:
        ModelError: none comes for this entity.
    """
    found = sorted(_SHIPPED.glob(f"{entity}-*.json"), key=lambda path: int(path.stem.rsplit("-", 1)[1]))
    if not found:
        names = ", ".join(sorted({path.stem.rsplit("-", 1)[0] for path in _SHIPPED.glob("*.json")}))
        raise ModelError(
            f"no model comes for {entity}; there is one for: {names or 'nothing'}. Train one on your records"
        )
    return load(found[-1])
