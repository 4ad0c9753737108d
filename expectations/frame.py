"""Arrow tables as the data frames that suites run over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import pandas as pd

_INSTANT = pa.timestamp("us", tz="UTC")


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Lay a table out in the types that pandas compares without a Python loop.

    Decimals become floats, which bounds do not mind and equalities do: compute those before. Dates become UTC
    instants, the only form of time for which GX compares bounds without a loop; for two columns of times it wants
    them without a zone, as the warehouse has them.

    Args:
        table: (n,) rows. Its memory may be given up column by column.

    Returns:
        (n,) rows labelled 0 to n - 1.
    """
    for position, field in enumerate(table.schema):
        values = table.column(position)
        if pa.types.is_decimal(field.type):
            values = values.cast(pa.float64())
        elif pa.types.is_date(field.type):
            values = values.cast(pa.timestamp("us")).cast(_INSTANT)
        table = table.set_column(position, field.name, values)
    return table.to_pandas(self_destruct=True)
