"""The arguments of a check as a contract writes them, turned into values of the column's type.

What belongs here: one entry of `checks` under a column. What does not: which checks there are and what
they compute (`contract_checks`).
"""

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from ingestion_pipeline.domain.contract import Check, Column
from ingestion_pipeline.domain.contract_checks import ALIASES, CHECKS, ArgumentKind, regex_problem
from ingestion_pipeline.domain.contract_problems import Problem, shown, suggestion


def read_check(key: str, written: str, given: object, column: Column, problems: list[Problem]) -> Check | None:
    """One check, or None with its problems added to `problems`.

    Args:
        key: The dotted path, for problems.
        written: The check's name, short or long.
        given: A scalar, a list or a mapping of arguments.
        column: The column, without its checks.
    """
    name = ALIASES.get(written, written)
    form = CHECKS.get(name)
    if form is None:
        hint = suggestion(written, [*CHECKS, *ALIASES]) or f"Checks: {', '.join(CHECKS)}."
        problems.append(Problem(key, f"'{written}' is not a check", hint))
        return None
    if form.text_only and column.type != "string":
        problems.append(Problem(key, f"'{written}' is for text, the column is of type {column.type}"))
        return None
    arguments: dict[str, Any]
    if isinstance(given, Mapping):
        arguments = {str(k): v for k, v in given.items()}
    elif len(form.positional) > 1 and isinstance(given, list) and len(given) == len(form.positional):
        arguments = dict(zip(form.positional, given, strict=True))
    elif len(form.positional) == 1:
        arguments = {form.positional[0]: given}
    else:
        problems.append(Problem(key, f"it needs {' and '.join(form.positional)}", "Write [1, 10], for example."))
        return None
    before = len(problems)
    for argument in sorted(form.needed - set(arguments)):
        problems.append(Problem(key, f"'{argument}' is missing"))
    for argument, value in arguments.items():
        if argument not in form.arguments:
            hint = suggestion(argument, form.arguments) or f"Arguments: {', '.join(form.arguments)}."
            problems.append(Problem(f"{key}.{argument}", f"'{argument}' is no argument of {written}", hint))
            continue
        try:
            arguments[argument] = _argument(form.arguments[argument], value, column)
        except ValueError as error:
            problems.append(Problem(key, str(error)))
    if name == "str_length" and not arguments:
        problems.append(Problem(key, "it needs min_value, max_value or exact_value"))
    return Check(name=name, arguments=arguments) if len(problems) == before else None


def _argument(kind: ArgumentKind, value: object, column: Column) -> object:
    if kind == "value":
        return _value(value, column)
    if kind == "values":
        if not isinstance(value, list) or not value:
            raise ValueError("it needs a list of values")
        return [_value(item, column) for item in value]
    wanted: type = {"bool": bool, "text": str, "pattern": str, "length": int}[kind]
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        raise ValueError(f"{shown(value)} is not {'text; put it in quotes' if wanted is str else wanted.__name__}")
    if kind == "pattern" and (problem := regex_problem(str(value))):
        raise ValueError(f"not a regular expression: {problem}")
    return _in_64_bits(value) if isinstance(value, int) else value


def _value(value: object, column: Column) -> object:
    """A value of a check in the column's own type.

    Raises:
        ValueError: It is of another type, or a number that no cell can be; the message says what to write.
    """
    result: object = None
    if column.type == "string":
        result = value if isinstance(value, str) else None
    elif column.type == "boolean":
        result = value if isinstance(value, bool) else None
    elif column.type == "date":
        result = value if isinstance(value, date) and not isinstance(value, datetime) else None
    elif column.type == "datetime" and isinstance(value, date):
        result = aware(value if isinstance(value, datetime) else datetime(value.year, value.month, value.day))  # noqa: DTZ001 - made aware at once
    elif not isinstance(value, bool):
        result = _number(value, column)
    if result is None:
        quoted = "; put it in quotes" if column.type == "string" else ""
        raise ValueError(f"{shown(value)} is not a value of type {column.type}{quoted}")
    return result


def _number(value: object, column: Column) -> int | float | Decimal | None:
    """None if it is no number of the column's type."""
    try:
        if column.type == "integer" and isinstance(value, int):
            return _in_64_bits(value)
        if column.type == "float" and isinstance(value, int | float):
            return None if math.isnan(value) else float(value)
        if column.type == "decimal" and isinstance(value, int | float | str):
            return _fitting(Decimal(str(value)), column)
    except (InvalidOperation, OverflowError):
        return None
    return None


def _in_64_bits(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{shown(value)} is beyond 64 bits; write a number from {-(2**63)} to {2**63 - 1}")
    return value


def _fitting(value: Decimal, column: Column) -> Decimal | None:
    """The value if a cell of the column could be it; None if it is no number."""
    if not value.is_finite():
        return None
    if not value:
        return Decimal(0)
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits))
    after_point = len(text.rstrip("0")) - len(text) - exponent
    whole = column.precision - column.scale
    if value.adjusted() >= whole or after_point > column.scale:
        raise ValueError(
            f"{shown(value)} has more digits than the column ({whole} digits before the point, {column.scale} after it)"
        )
    return value


def aware(moment: datetime) -> datetime:
    """In UTC; a datetime without a zone is taken for UTC.

    Raises:
        ValueError: In UTC it is in the year 0 or 10000.
    """
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{moment.isoformat()} is not in the years 1 to 9999 of UTC") from None
