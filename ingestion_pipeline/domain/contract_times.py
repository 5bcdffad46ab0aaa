"""How a contract may say that times are written: zones and formats, tried out on one moment.

What belongs here: whether Polars can read what a contract promises. What does not: reading the cells of a file
(`stages.validate`). A mistake here would not end a run: it would reject every row of every file, or move them.
"""

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import available_timezones

import polars as pl

from ingestion_pipeline.domain.contract import ColumnType
from ingestion_pipeline.domain.contract_problems import Problem, suggestion

# Every part differs from what a format that leaves it out is read as, and it is afternoon.
_MOMENT = datetime(2021, 12, 30, 16, 5, 6, 789012, tzinfo=UTC)
_OFFSETS = ("%z", "%:z", "%#z")


def zone_problem(key: str, zone: str) -> Problem | None:
    """What is wrong with the name of a time zone; None if Python and Polars both know it."""
    if zone in _zones():
        try:
            pl.Series([], dtype=pl.Datetime("us")).dt.replace_time_zone(zone)
        except pl.exceptions.PolarsError:
            return Problem(key, f"'{zone}' is no time zone that Polars knows", "Use a name like Europe/Paris.")
        return None
    return Problem(key, f"'{zone}' is no time zone", suggestion(zone, _zones()) or "Use a name like Europe/Paris.")


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def format_problem(key: str, form: str, column_type: ColumnType) -> Problem | None:
    """What is wrong with a strftime format of a date or datetime; None if a moment written so is read back."""
    if "%f" in form:
        hint = "Write %.f for a point and any digits after it, or %3f, %6f for so many digits."
        return Problem(key, "%f counts billionths of a second, however many digits there are", hint)
    example = "%Y-%m-%d" if column_type == "date" else "%Y-%m-%d %H:%M:%S"
    hint = f"Write {example}, for example."
    try:
        # Polars writes %z and reads %#z, which takes all that %z takes.
        written = pl.Series([_MOMENT]).dt.strftime(form.replace("%#z", "%z"))
    except pl.exceptions.PolarsError:
        return Problem(key, f"'{form}' is no format of a {column_type}", hint)
    zone = "UTC" if any(offset in form for offset in _OFFSETS) else None
    try:
        if column_type == "date":
            read = written.str.to_date(form, strict=False)
        else:
            read = written.str.to_datetime(form, time_unit="us", time_zone=zone, strict=False)
    except pl.exceptions.PolarsError as error:
        return Problem(key, str(error).splitlines()[0].rstrip("."), hint)
    if read.dtype != (pl.Date() if column_type == "date" else pl.Datetime("us", zone)):
        return Problem(key, f"'{form}' has an offset that is read in UTC only", "Write %z or %:z for it.")
    # Without a day, it is the first of the month.
    if read.cast(pl.Date).item() not in (_MOMENT.date(), _MOMENT.date().replace(day=1)):
        return Problem(key, f"'{form}' tells no year and month that can be read", hint)
    return None
