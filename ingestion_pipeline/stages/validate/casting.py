"""Cells of text to values of the contract's types; what cannot be read is found, never silently null.

What belongs here: how each type may be written. What does not: rules about values (`rules`).
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import polars as pl

from ingestion_pipeline.domain.contract import Column
from ingestion_pipeline.domain.contract_checks import polars_type
from ingestion_pipeline.domain.contract_numbers import has_marks, with_point

# ISO 8601 as it is met, most frequent first; each is tried on the cells that no earlier one could read.
_ISO_WITH_ZONE = (
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%M:%S%.fZ",
    "%Y-%m-%d %H:%M:%SZ",
    "%Y-%m-%d %H:%M:%S%.fZ",
    "%Y-%m-%dT%H:%MZ",
)
_ISO_WITH_OFFSET = ("%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%d %H:%M:%S%.f%:z", "%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%dT%H:%M%:z")
_ISO_WITHOUT_ZONE = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")
_BEGINS_AS_ISO = r"^\s*[+-]?\d+-\d"
_YEAR_1000 = datetime(1000, 1, 1, tzinfo=UTC)
_MICROSECONDS = {"epoch_s": 1_000_000, "epoch_ms": 1_000}
_LAST_MICROSECOND = 253_402_300_799_999_999  # the end of the year 9999


def cast_cells(cells: pl.Series, column: Column) -> tuple[pl.Series, pl.Series | None]:
    """Type one column.

    Args:
        cells: Text; null where the file has nothing or one of the contract's words for null.

    Returns:
        The typed cells, and where a cell has something that is not of the type (None: nowhere).
    """
    dtype = polars_type(column)
    if column.null_values and cells.dtype == pl.String:
        cells = cells.set(cells.is_in(column.null_values), None)
    if column.type == "string" or cells.dtype == dtype:
        return cells.cast(dtype), None
    if cells.null_count() == len(cells):
        return pl.Series(cells.name, [None], dtype=dtype).new_from_index(0, len(cells)), None
    typed = _first_try(cells, column, dtype)
    if typed.null_count() == cells.null_count():
        return typed, None
    # The other ways take long, and are for the cells that the first could not read: often few of many.
    lost = _lost(cells, typed)
    trimmed = lost["text"]
    found = _any_try(trimmed, column, dtype)
    typed = typed.scatter(lost["at"], found)
    wrong = found.is_null() & trimmed.is_not_null()
    if not wrong.any():
        return typed, None
    nowhere = pl.Series([False]).new_from_index(0, len(cells))
    return typed, nowhere.scatter(lost["at"].filter(wrong), True)


def _lost(cells: pl.Series, typed: pl.Series) -> pl.DataFrame:
    """Where cells became null: their places and texts, without the spaces around them.

    "", which in a typed column can only mean null, is null.
    """
    both = pl.DataFrame([cells.alias("cell"), typed.alias("typed")]).lazy().with_row_index("at")
    text = pl.col("cell").str.strip_chars()
    lost = both.filter(pl.col("typed").is_null() & pl.col("cell").is_not_null())
    return lost.select("at", text=pl.when(text != "").then(text)).collect()


def _any_try(cells: pl.Series, column: Column, dtype: pl.DataType) -> pl.Series:
    """Typed in the first way that fits each cell."""
    tries = _all_tries(cells, column, dtype)
    found = next(tries)
    while found.null_count() > cells.null_count() and (typed := next(tries, None)) is not None:
        found = found.zip_with(found.is_not_null(), typed)
    return found


def _first_try(cells: pl.Series, column: Column, dtype: pl.DataType) -> pl.Series:
    return next(_all_tries(cells, column, dtype))


def _all_tries(cells: pl.Series, column: Column, dtype: pl.DataType) -> Iterator[pl.Series]:
    """The column read in every way that its type may be written, one way after the other."""
    if has_marks(column):
        cells = with_point(cells, column)
    if column.type in {"integer", "float"}:
        yield cells.cast(dtype, strict=False)
    elif column.type == "boolean":
        lowered = cells.str.to_lowercase()
        yield pl.select(
            pl.when(lowered.is_in(column.true_values))
            .then(True)
            .when(lowered.is_in(column.false_values))
            .then(False)
            .otherwise(None)
        ).to_series()
    elif column.type == "decimal":
        # A cast alone would round what has too many digits.
        whole = column.precision - column.scale
        fits = cells.str.contains(rf"^[+-]?0*\d{{0,{whole}}}(?:\.\d{{0,{column.scale}}}0*)?$") & cells.str.contains(
            r"\d"
        )
        yield cells.set(~fits, None).cast(dtype, strict=False)
    elif column.type == "date":
        for form in column.formats:
            yield cells.str.to_date(form, strict=False)
        if not column.formats:
            yield _of_four_digit_years(cells.str.to_date("%Y-%m-%d", strict=False), cells)
    elif not column.formats:
        for moments in _iso_datetimes(cells, column.timezone):
            yield _of_four_digit_years(moments, cells)
    else:
        for form in column.formats:
            yield _datetimes(cells, form, column.timezone)


def _datetimes(cells: pl.Series, form: str, timezone: str) -> pl.Series:
    if form in _MICROSECONDS:
        factor = _MICROSECONDS[form]
        numbers = cells.cast(pl.Int64, strict=False)
        # A product beyond 64 bits would wrap around to some other moment.
        numbers = numbers.set(~numbers.is_between(-_LAST_MICROSECOND // factor, _LAST_MICROSECOND // factor), None)
        return (numbers * factor).cast(pl.Datetime("us", "UTC"))
    zoned = any(offset in form for offset in ("%z", "%:z", "%#z"))
    return _parsed(cells, form, None if zoned else timezone)


def _iso_datetimes(cells: pl.Series, timezone: str) -> Iterator[pl.Series]:
    yield _parsed(cells, _ISO_WITH_ZONE[0], "UTC")
    if not cells.str.contains(_BEGINS_AS_ISO).any():
        return  # none of the dozen forms that follow can fit, and each takes its time
    for form in _ISO_WITH_ZONE[1:]:
        yield _parsed(cells, form, "UTC")
    for form in _ISO_WITH_OFFSET:
        yield _parsed(cells, form, None)
    for form in _ISO_WITHOUT_ZONE:
        yield _parsed(cells, form, timezone)
    days = cells.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    yield in_utc(days, timezone)


def _of_four_digit_years(typed: pl.Series, cells: pl.Series) -> pl.Series:
    """Without the cells that begin with fewer digits: `13-01-05` is hardly of the year 13, as the parser has it."""
    usual = typed >= (_YEAR_1000 if isinstance(typed.dtype, pl.Datetime) else _YEAR_1000.date())
    # Looking at the text takes as long as parsing it, and a later year always has its digits.
    return typed if usual.all() else typed.set(~usual & ~cells.str.contains(r"^\d{4}-"), None)


def _parsed(cells: pl.Series, form: str, zone: str | None) -> pl.Series:
    """Cells written in one form, in UTC; `zone` None: the form has an offset."""
    if zone is None:
        return cells.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False)
    return in_utc(cells.str.to_datetime(form, time_unit="us", strict=False), zone)


def in_utc(local: pl.Series, zone: str) -> pl.Series:
    """Moments without a zone, taken for those of one."""
    # An hour that the clock shows twice or skips is no moment: null, and so a row of the wrong type.
    placed = local.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    return placed if zone == "UTC" else placed.dt.convert_time_zone("UTC")
