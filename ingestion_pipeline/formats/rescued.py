"""Columns that the contract does not name, as one JSON object per row.

What belongs here: cells to JSON texts, and these to objects. What does not: which columns they are (`columns` and the
readers).
"""

import json
from collections.abc import Sequence

import polars as pl


def json_objects(members: Sequence[tuple[str, pl.Series]], height: int) -> pl.Series:
    """One object per row with the members that it has; null where it has none.

    Args:
        members: Keys with the texts of their values, as JSON has them; null where a row has no such member.
    """
    if not members:
        return pl.Series([None], dtype=pl.String).new_from_index(0, height)
    texts = pl.DataFrame({str(n): values for n, (_, values) in enumerate(members)})
    # Keys are data: as a format they could hold braces.
    parts = [pl.lit(json_key(key)) + pl.col(str(n)) for n, (key, _) in enumerate(members)]
    joined = texts.select(pl.concat_str(parts, separator=",", ignore_nulls=True)).to_series()
    return pl.select(pl.when(joined != "").then(pl.lit("{") + joined + pl.lit("}"))).to_series()


def json_key(key: str) -> str:
    """A member's beginning: its key and the colon."""
    return json.dumps(key, ensure_ascii=False) + ":"


def json_values(values: pl.Series) -> pl.Series:
    """Values of any type that has a JSON form; null stays null."""
    objects = pl.DataFrame({"x": values}).select(pl.struct("x").struct.json_encode()).to_series()
    texts = objects.str.strip_prefix('{"x":').str.head(-1).alias(values.name)
    return texts.set(values.is_null(), None) if values.null_count() else texts
