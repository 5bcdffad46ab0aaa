"""Values of Parquet as text that the contract's types read back without loss.

What belongs here: how each type of the file is written. What does not: reading the file (`parquet`), what a cell
may hold (`stages.validate`).

A contract's type reads text. So a whole number in a float column (pandas writes columns of whole numbers with
nulls so) is written without a point for an integer, and midnight without its hour for a date: the value is the
same. Anything else that does not fit stays as it is, and is rejected.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from ingestion_pipeline.domain.contract import ISO_LOCAL, ISO_UTC, Column
from ingestion_pipeline.domain.contract_numbers import has_marks, with_marks
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.rescued import json_values

# Beyond it, a float does not tell one whole number from the next.
_EXACT_FLOAT = 2.0**53


@dataclass(frozen=True, slots=True)
class CellText:
    """How one contract column is read.

    Attributes:
        name: The contract's name.
        source: The file's.
        path: The file's column, and the fields of structs in it that lead to the values.
        texts: Values of the file as cells under the same name: strings, or of the contract's own type.
        is_json: The texts are JSON values (numbers, true, arrays, objects).
    """

    name: str
    source: str
    path: tuple[str, ...]
    texts: Callable[[pl.Series], pl.Series]
    is_json: bool


def cell_text(column: Column, own: str | None, schema: pl.Schema) -> CellText | None:
    """How a column is read from a file of this schema; None: the file does not have it.

    Args:
        own: The file's column with that name; None: there is none, but a name with dots leads into structs.

    Raises:
        UnreadableFile: Its type there cannot be the contract's.
    """
    if own is not None:
        path: tuple[str, ...] = (own,)
        dtype: Any = schema[own]
    else:
        dotted = [tuple(name.split(".")) for name in (column.source, *column.aliases) if "." in name]
        path, dtype = next((found for names in dotted if (found := _inside(names, schema))[1] is not None), ((), None))
    if dtype is None:
        return None
    dtype = dtype() if isinstance(dtype, type) else dtype  # Polars has some types as classes too
    return CellText(
        name=column.name,
        source=".".join(path),
        path=path,
        texts=_writer(column, dtype),
        is_json=(dtype.is_numeric() and not has_marks(column)) or dtype.is_nested() or dtype == pl.Boolean,
    )


def _inside(path: tuple[str, ...], schema: pl.Schema) -> tuple[tuple[str, ...], Any]:
    """A path, and the type of what it leads to through structs; None where it leads nowhere."""
    dtype: Any = schema.get(path[0])
    for name in path[1:]:
        dtype = {f.name: f.dtype for f in dtype.fields}.get(name) if isinstance(dtype, pl.Struct) else None
    return path, dtype


def _writer(column: Column, dtype: pl.DataType) -> Callable[[pl.Series], pl.Series]:
    if dtype.is_float() and column.type == "integer":
        return _whole_floats
    if dtype.is_numeric() and has_marks(column):
        return lambda values: with_marks(values.cast(pl.String), column)
    if dtype.is_temporal() and dtype in (pl.Date, pl.Datetime):
        return _moments(column, dtype)
    if dtype == pl.Binary:
        return lambda values: _text_of_bytes(values, column)
    if dtype.is_nested():
        return lambda values: _json(values, column)
    if dtype == pl.Duration:
        return lambda values: values.dt.to_string("iso")
    if dtype == pl.Time:
        return lambda values: values.dt.to_string("%H:%M:%S%.f")
    if dtype == pl.Null or dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Categorical, pl.Enum):
        return lambda values: values.cast(pl.String)
    raise _refused(column, f"values of type {dtype} have no text")


def _whole_floats(values: pl.Series) -> pl.Series:
    numbers = values.cast(pl.Float64)
    whole = (numbers == numbers.floor()) & (numbers.abs() <= _EXACT_FLOAT)
    integers = numbers.set(~whole, None).cast(pl.Int64, strict=False).cast(pl.String)
    return pl.select(pl.coalesce(integers, values.cast(pl.String))).to_series().alias(values.name)


def _moments(column: Column, dtype: pl.DataType) -> Callable[[pl.Series], pl.Series]:
    """Dates and moments in ISO 8601, with Z if the file has them in a zone."""
    zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
    if column.formats and column.type in {"date", "datetime"}:
        return _typed(column, dtype, zone)
    if not isinstance(dtype, pl.Datetime):
        return lambda values: values.dt.strftime("%Y-%m-%d")

    def write(values: pl.Series) -> pl.Series:
        local = values if zone is None else values.dt.convert_time_zone("UTC")
        texts = local.dt.strftime(ISO_LOCAL if zone is None else ISO_UTC)
        if column.type != "date" or zone is not None:
            return texts
        midnight = local == local.dt.truncate("1d")
        return texts.set(midnight, None).zip_with(~midnight.fill_null(True), local.dt.strftime("%Y-%m-%d"))

    return write


def _typed(column: Column, dtype: pl.DataType, zone: str | None) -> Callable[[pl.Series], pl.Series]:
    """The contract says how texts are written (`format`); the file's moments need no text, they are given as such."""
    if (column.type == "date") != (dtype == pl.Date):
        raise _refused(column, f"the contract has {column.type} with a format, the file has {dtype}")
    if dtype == pl.Date:
        return lambda values: values
    if zone is None and column.timezone != "UTC":
        raise _refused(column, "the file has moments without a zone, and the contract has a zone and a format")
    return lambda values: (
        values.dt.replace_time_zone("UTC") if zone is None else values.dt.convert_time_zone("UTC")
    ).dt.cast_time_unit("us")


def _text_of_bytes(values: pl.Series, column: Column) -> pl.Series:
    try:
        return values.cast(pl.String)
    except pl.exceptions.PolarsError as error:
        raise _refused(column, "it holds bytes that are not UTF-8 text") from error


def _json(values: pl.Series, column: Column) -> pl.Series:
    try:
        return json_values(values)
    except pl.exceptions.PanicException as error:
        raise _refused(column, f"values of type {values.dtype} have no JSON") from error


def _refused(column: Column, why: str) -> UnreadableFile:
    return UnreadableFile(
        f"Column '{column.source}' of the Parquet file cannot be read as {column.type}: {why}.",
        hint="Write it with another type, or leave it out of the contract.",
        details={"column": column.source},
    )
