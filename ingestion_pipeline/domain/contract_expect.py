"""How expectations are written in a contract: the keys of `expect`, and turning them into an `Expectation`."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import islice
from typing import Annotated, Any

from cronsim import CronSim, CronSimError
from pydantic import BeforeValidator, Field

from ingestion_pipeline.domain.contract_columns import StrictDocument
from ingestion_pipeline.domain.contract_patterns import FilePattern
from ingestion_pipeline.domain.contract_problems import Problem, suggestion
from ingestion_pipeline.domain.contract_times import zone_problem
from ingestion_pipeline.domain.expectation import DAY, HOUR, WEEKDAY, Expectation

_EVERY = (HOUR, DAY, WEEKDAY)
_BY = re.compile(r"([01]\d|2[0-3]):([0-5]\d)(?: (next day|\+([1-9]|[12]\d|30) days?))?")
_BY_MINUTE = re.compile(r":([0-5]\d)")
_GRACE = re.compile(r"([1-9]\d{0,3}) ?(m|h|d)")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
# What both readers of cron lines (cronsim here, Dagster for its freshness) take alike.
_CRON = re.compile(r"[0-9A-Za-z*,/ -]+")


def _clock(value: Any) -> Any:
    """YAML reads 17:30 without quotes as a number of base 60: what was written is still known."""
    if isinstance(value, int) and not isinstance(value, bool) and 60 <= value < 24 * 60:
        return f"{value // 60:02}:{value % 60:02}"
    return value


class ExpectDocument(StrictDocument):
    """The keys of `expect`."""

    every: str
    by: Annotated[str | None, BeforeValidator(_clock)] = None
    zone: str = "UTC"
    files: int = Field(1, ge=1)
    grace: str | None = None
    smaller_than_usual: float | None = Field(None, gt=0, lt=1)
    organizations: list[str] = Field(default_factory=list)


def read_expect(document: ExpectDocument, files: Sequence[FilePattern], problems: list[Problem]) -> Expectation:
    """The expectation; what is wrong with it is added to `problems`.

    Args:
        files: The patterns of the contract: files whose keys have a date count for that day.
    """
    problems.extend(_problems(document))
    by, days_later = time(), 0
    if document.by is not None and document.every == HOUR and (found := _BY_MINUTE.fullmatch(document.by)):
        by = time(minute=int(found[1]))
    elif document.by is not None and (found := _BY.fullmatch(document.by)):
        by, days_later = time(int(found[1]), int(found[2])), int(found[4] or bool(found[3]))
    elif document.by is None:
        days_later = 1  # a day's files, by the end of the day
    grace = _GRACE.fullmatch(document.grace) if document.grace is not None else None
    return Expectation(
        every=document.every,
        by=by,
        days_later=days_later if document.every in (DAY, WEEKDAY) else 0,
        zone=document.zone,
        files=document.files,
        grace=int(grace[1]) * _UNITS[grace[2]] if grace else None,
        smaller_than_usual=document.smaller_than_usual,
        organizations=tuple(document.organizations),
        by_date=document.every in (DAY, WEEKDAY) and all(pattern.has_date for pattern in files),
    )


def _problems(document: ExpectDocument) -> Iterable[Problem]:
    if document.every not in _EVERY:
        yield from _cron_problems(document.every)
        if document.by is not None:
            yield Problem("expect.by", "a cron line says itself when", "Remove it.")
    elif document.by is not None:
        form = _BY_MINUTE if document.every == HOUR else _BY
        if not form.fullmatch(document.by):
            hint = 'Write ":15" for a quarter past each hour.' if document.every == HOUR else (
                'Write "07:00", "07:00 next day" or "07:00 +2 days".'
            )  # fmt: skip
            yield Problem("expect.by", f"'{document.by}' is no time of the {_unit(document.every)}", hint)
    if problem := zone_problem("expect.zone", document.zone):
        yield problem
    if document.grace is not None and not _GRACE.fullmatch(document.grace):
        yield Problem("expect.grace", f"'{document.grace}' is no length of time", "Write 30m, 2h or 1d.")
    for position, name in enumerate(document.organizations):
        if name in document.organizations[:position]:
            yield Problem(f"expect.organizations.{position}", f"'{name}' is named already", "Remove it.")


def _unit(every: str) -> str:
    return "hour" if every == HOUR else "day"


def _cron_problems(every: str) -> Iterable[Problem]:
    hint = suggestion(every, _EVERY) or "It is hour, day, weekday or a cron line as in '0 6 * * MON'."
    if len(every.split()) != 5 or not _CRON.fullmatch(every):
        yield Problem("expect.every", f"'{every}' is no period", hint)
        return
    try:
        # A leap day comes once in eight years at the most: what never comes is told as well.
        found = list(islice(CronSim(every, datetime(2024, 1, 1, tzinfo=UTC)), 2))
    except CronSimError as error:
        yield Problem("expect.every", f"'{every}' is no cron line: {str(error).lower()}", hint)
        return
    if len(found) < 2:
        yield Problem("expect.every", f"'{every}' never comes", hint)
