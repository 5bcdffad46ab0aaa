"""The rules about values that a person would dare to write after seeing some rows.

What belongs here: checks on one column. What does not: types (`decisions`), keys (`keys`). A rule too many rejects good
rows tomorrow: numbers get bounds by what their name says they are, never by the least and the greatest value seen.
"""

from typing import Any

from ingestion_pipeline.stages.infer.decisions import Decision
from ingestion_pipeline.stages.infer.evidence import Evidence

_BY_NAME = {
    "month": (1, 12),
    "day": (1, 31),
    "day_of_month": (1, 31),
    "hour": (0, 23),
    "minute": (0, 59),
    "second": (0, 59),
    "lat": (-90, 90),
    "latitude": (-90, 90),
    "lon": (-180, 180),
    "lng": (-180, 180),
    "longitude": (-180, 180),
}
_PERCENT_WORDS = frozenset(("percent", "pct", "percentage", "humidity", "humid"))
_CHANGE_WORDS = frozenset(("change", "growth", "delta", "diff", "difference", "gain"))
_COUNTED_WORDS = frozenset(
    ("quantity", "qty", "count", "distance", "duration", "price", "population", "weight", "bytes")
)
_MOST_WORDS = 10
_FEWEST_ROWS = 100
_FEWEST_OF_EACH = 10
_LONGEST_WORD = 30


def checks_of(column: Evidence, decision: Decision, nulls: list[str]) -> dict[str, Any]:
    """The checks of a column, as a contract writes them."""
    if decision.type == "string":
        words = _words(column, nulls)
        return {"isin": words} if words else {}
    if decision.type not in {"integer", "float", "decimal"} or decision.low is None:
        return {}
    bounds = _bounds(column.name)
    if bounds is not None:
        return {"in_range": list(bounds)} if bounds[0] <= decision.low and decision.high <= bounds[1] else {}
    counted = set(column.name.split("_")) & _COUNTED_WORDS and not set(column.name.split("_")) & _CHANGE_WORDS
    return {"ge": 0} if counted and decision.low >= 0 else {}


def _bounds(name: str) -> tuple[int, int] | None:
    words = set(name.split("_"))
    if words & _PERCENT_WORDS and not words & _CHANGE_WORDS:
        return (0, 100)
    return _BY_NAME.get(name)


def _words(column: Evidence, nulls: list[str]) -> list[str]:
    """The values of a column of few words, each of them met so often that another one would have been met too."""
    if column.values is None or column.blanks:
        return []
    counts = column.values + column.words
    for word in nulls:
        del counts[word]
    few = 2 <= len(counts) <= _MOST_WORDS and counts.total() >= _FEWEST_ROWS
    if not few or min(counts.values()) < max(_FEWEST_OF_EACH, counts.total() // 1000):
        return []
    return sorted(counts) if all(0 < len(word) <= _LONGEST_WORD for word in counts) else []
