"""Druid's load and drop rules: whether the cluster means to serve a stretch of time at all. Pure.

What belongs here: judging an interval by a datasource's rules, as the coordinator does: the first that applies counts.
What does not: asking for the rules (`adapters.druid`). Periods are calendar periods (`P1M`) before now.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ingestion_pipeline.domain.interval import Interval

_PERIOD = re.compile(r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")


def is_served(interval: Interval, rules: Iterable[Mapping[str, Any]], now: datetime) -> bool:
    """Whether the rules have the interval's segments loaded; where a rule cannot be read, they may not be.

    Args:
        rules: As the coordinator gives them with `full`: the datasource's, then the cluster's.
    """
    for rule in rules:
        try:
            applies = _applies(rule, interval, now)
        except (KeyError, ValueError, OverflowError, TypeError):
            return False
        if applies:
            kind = str(rule.get("type"))
            if not kind.startswith("load"):
                return False
            replicas = rule.get("tieredReplicants")
            return replicas is None or any(int(count) > 0 for count in replicas.values())
    return False


def _applies(rule: Mapping[str, Any], interval: Interval, now: datetime) -> bool:
    kind = str(rule["type"])
    if kind.startswith("broadcast"):
        return False
    if kind.endswith("Forever"):
        return True
    if kind.endswith("ByInterval"):
        start, _, end = str(rule["interval"]).partition("/")
        theirs = Interval(_moment(start), _moment(end))
        if kind.startswith("load"):
            return interval.start < theirs.end and theirs.start < interval.end
        return theirs.start <= interval.start and interval.end <= theirs.end
    since = before(now, str(rule["period"]))
    if kind == "dropBeforeByPeriod":
        return interval.end <= since
    future = bool(rule.get("includeFuture", True))
    if kind == "loadByPeriod":
        return since < interval.end and (future or interval.start < now)
    if kind == "dropByPeriod":
        return since <= interval.start and (future or interval.end <= now)
    raise ValueError(f"an unknown kind of rule: {kind}")


def before(now: datetime, period: str) -> datetime:
    """The moment that lies an ISO 8601 period before `now`.

    Raises:
        ValueError: It is none.
    """
    found = _PERIOD.fullmatch(period)
    if found is None or not any(found.groups()):
        raise ValueError(f"{period!r} is no period.")
    years, months, weeks, days, hours, minutes, seconds = (int(group or 0) for group in found.groups())
    month = now.year * 12 + now.month - 1 - years * 12 - months
    if month < 12:
        return datetime.min.replace(tzinfo=UTC)  # a period of thousands of years: for ever
    first = now.replace(year=month // 12, month=month % 12 + 1, day=1)
    last_day = ((first + timedelta(days=32)).replace(day=1) - timedelta(days=1)).day
    at = first.replace(day=min(now.day, last_day))
    span = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    return at - span if at - datetime.min.replace(tzinfo=UTC) > span else datetime.min.replace(tzinfo=UTC)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
