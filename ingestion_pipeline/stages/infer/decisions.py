"""From the evidence on a column to its type: where several are possible, what a person would choose.

What belongs here: types, formats, and which words mean null. What does not: rules about values (`rules`), keys
(`keys`), the time column (`times`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ingestion_pipeline.domain.contract import ColumnType
from ingestion_pipeline.stages.infer.draft import LOOK
from ingestion_pipeline.stages.infer.evidence import Evidence
from ingestion_pipeline.stages.infer.readings import Reading, rival_of

# These are hardly ever meant as the text that they are; the others need a column of numbers or times around them.
_UNMISTAKABLE = frozenset(("N/A", "n/a", "NULL", "null", "(null)", "<NA>", "#N/A", "\\N", "NaN"))
_MONEY_WORDS = frozenset(
    {
        *("price", "amount", "total", "subtotal", "cost", "costs", "fee", "fees", "fare", "balance"),
        *("tax", "vat", "revenue", "salary", "wage", "payment", "discount", "gross", "net", "refund"),
    }
)
_EXACT_DIGITS = 15  # a float has them all
_COUNTED_DIGITS = 10  # floats written in full have more after the point
_MONEY_DIGITS = 18
_DECIMAL_DIGITS = 38


@dataclass(frozen=True, slots=True)
class Decision:
    """The type of a column.

    Attributes:
        low: The smallest value, in Python's type; None: the type has no order, or there was no value.
        local: It has moments without a zone.
        remark: What a person should know or decide.
        formats: Where day and month cannot be told apart, the two ways to read them; the type is string then.
    """

    type: ColumnType
    format: str | None = None
    precision: int | None = None
    scale: int | None = None
    low: Any = None
    high: Any = None
    local: bool = False
    remark: str = ""
    formats: tuple[Reading, ...] = ()


def decide(columns: Sequence[Evidence]) -> list[Decision]:
    """A type for each column; one that cannot tell day from month follows the others, if they agree."""
    decisions = [_decided(column) for column in columns]
    known = {
        _day_first(decision.format): column.name
        for column, decision in zip(columns, decisions, strict=True)
        if decision.format and rival_of(decision.format) != decision.format and "/" in decision.format
    }
    if len(known) != 1:
        return decisions
    [(day_first, name)] = known.items()
    return [_following(decision, day_first=day_first, other=name) for decision in decisions]


def null_words(columns: Sequence[Evidence], decisions: Sequence[Decision]) -> list[str]:
    """The words that mean null in every column: those that stand among numbers and times, and the unmistakable ones."""
    found = {
        word
        for column, decision in zip(columns, decisions, strict=True)
        for word in column.words
        if decision.type != "string" or word in _UNMISTAKABLE
    }
    return sorted(found)


def _decided(column: Evidence) -> Decision:
    if column.readings is None:
        return Decision("string", remark=f"{LOOK}: it is empty in every row")
    for reading in column.readings:
        if reading.type == "boolean":
            if reading.low != reading.high or not reading.needs_both:
                return Decision("boolean")
        elif reading.type == "float":
            return _number(column, reading)
        elif reading.format is not None and (rival := _rival(reading, column.readings)):
            remark = (
                f"{LOOK}: day or month first? No row tells. Say type: {reading.type} and "
                f'format: "{reading.format}" or "{rival.format}"'
            )
            return Decision("string", remark=remark, formats=(reading, rival))
        else:
            return _of(reading)
    return Decision("string")


def _of(reading: Reading) -> Decision:
    remark = f"{LOOK}: years of two digits" if "%y" in (reading.format or "") else reading.remark
    return Decision(
        reading.type, reading.format, low=reading.low, high=reading.high, local=reading.local, remark=remark
    )


def _number(column: Evidence, reading: Reading) -> Decision:
    whole, after = column.digits
    if column.exponents and after == 0:
        return Decision("string", remark=f"{LOOK}: codes, or numbers with exponents?")
    decision = Decision("float", low=reading.low, high=reading.high)
    same_scale = after == column.fewest_after
    if column.exponents or whole + after > _DECIMAL_DIGITS:
        return decision
    # A writer of floats gives no more digits before the point; with as many after every point, somebody counts them.
    if whole > _EXACT_DIGITS or (same_scale and after <= _COUNTED_DIGITS and whole + after > _EXACT_DIGITS):
        precision = min(_DECIMAL_DIGITS, whole + after + 4)
        return replace(
            decision, type="decimal", precision=precision, scale=after, remark="more digits than a float has"
        )
    if same_scale and 2 <= after <= 4 and set(column.name.split("_")) & _MONEY_WORDS:
        remark = f"{LOOK}: exact, but text in Druid; take float to sum it there"
        return replace(decision, type="decimal", precision=_MONEY_DIGITS, scale=after, remark=remark)
    return decision


def _rival(reading: Reading, others: Sequence[Reading]) -> Reading | None:
    """The same format with day and month exchanged, if it can read the column as well."""
    assert reading.format is not None
    wanted = rival_of(reading.format)
    return next((other for other in others if other.format == wanted and wanted != reading.format), None)


def _following(decision: Decision, *, day_first: bool, other: str) -> Decision:
    for reading in decision.formats:
        if _day_first(reading.format) == day_first:
            order = "day before month" if day_first else "month before day"
            return replace(_of(reading), remark=f"{LOOK}: {order}, as in {other}")
    return decision


def _day_first(format_: str | None) -> bool:
    return format_ is not None and -1 < format_.find("%d") < format_.find("%m")
