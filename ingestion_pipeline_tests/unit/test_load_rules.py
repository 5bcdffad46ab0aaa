"""Druid's load rules, judged as its coordinator judges them: the first that applies counts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ingestion_pipeline.domain.interval import Interval
from ingestion_pipeline.domain.load_rules import before, is_served

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
LOAD = {"type": "loadForever", "tieredReplicants": {"_default_tier": 1}}
DROP = {"type": "dropForever"}


def day(days_ago: int) -> Interval:
    start = NOW.replace(hour=0) - timedelta(days=days_ago)
    return Interval(start, start + timedelta(days=1))


def period(kind: str, text: str, **more: Any) -> dict[str, Any]:
    return {"type": f"{kind}ByPeriod", "period": text, **more}


@pytest.mark.parametrize(
    ("rules", "days_ago", "served"),
    [
        ([LOAD], 1000, True),
        ([DROP, LOAD], 1, False),
        ([], 1, False),
        ([{"type": "broadcastForever"}, LOAD], 1, True),
        ([{**LOAD, "tieredReplicants": {}}], 1, False),
        ([{**LOAD, "tieredReplicants": {"hot": 0, "cold": 2}}], 1, True),
        ([period("load", "P30D"), DROP], 29, True),
        ([period("load", "P30D"), DROP], 31, False),
        ([period("load", "P30D"), DROP], -3, True),
        ([period("load", "P30D", includeFuture=False), DROP], -3, False),
        ([period("drop", "P7D"), LOAD], 3, False),
        ([period("drop", "P7D"), LOAD], 8, True),
        ([period("drop", "P7D", includeFuture=False), LOAD], -3, True),
        ([period("dropBefore", "P1Y"), LOAD], 400, False),
        ([period("dropBefore", "P1Y"), LOAD], 300, True),
        ([{"type": "dropByInterval", "interval": "2026-03-01/2026-03-20"}, LOAD], 20, False),
        ([{"type": "dropByInterval", "interval": "2026-03-01/2026-03-20"}, LOAD], 5, True),
        ([{"type": "loadByInterval", "interval": "2026-03-01T00:00:00.000Z/2026-03-20T00:00:00.000Z"}], 20, True),
        ([{"type": "dropByInterval", "interval": "nonsense"}, LOAD], 5, False),
        ([{"type": "somethingNew"}, LOAD], 5, False),
        ([period("load", "a month"), LOAD], 5, False),
    ],
)
def test_the_first_rule_that_applies_says_whether_it_is_served(
    rules: list[dict[str, Any]], days_ago: int, served: bool
) -> None:
    assert is_served(day(days_ago), rules, NOW) is served


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("P1M", datetime(2026, 2, 28, 12, tzinfo=UTC)),
        ("P1Y1M", datetime(2025, 2, 28, 12, tzinfo=UTC)),
        ("P1W", datetime(2026, 3, 24, 12, tzinfo=UTC)),
        ("PT36H", datetime(2026, 3, 30, tzinfo=UTC)),
        ("P5000Y", datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_a_period_is_one_of_the_calendar(text: str, expected: datetime) -> None:
    assert before(NOW, text) == expected
