"""The files of the validation benchmark: years of flights, errors planted in them, the contract that they meet.

What belongs here: making the files, the same bytes each time, and the truth about what is wrong in them. What does
not: who reads them, and what is measured.

Each copy of the year lies a year later than the one before, so that the contract's uniqueness holds over the whole
file. The contract is the demo's; only the years that it allows are as many as there are copies.
"""

import random
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path
from typing import BinaryIO, NamedTuple

import polars as pl
import yaml

from ingestion_pipeline.adapters.contracts import load_contract
from ingestion_pipeline.domain.contract import Contract

FIRST_YEAR = 2013
PLANTED_FRACTION = 0.01
SEED = 5
_KEY = "time_hour, carrier, flight"


class Error(NamedTuple):
    """What validation has to say about a row."""

    line: int
    column: str
    rule: str


class _Kind(NamedTuple):
    """A way to spoil a row: what it does to the row's cells, what has to be found."""

    spoil: Callable[[dict[str, str]], Mapping[str, str]]
    column: str
    rule: str


def _minute_later(row: dict[str, str]) -> dict[str, str]:
    return {"minute": str((int(row["minute"]) + 1) % 60)}


# Twelve kinds; those without cells to set are told apart in `_spoiled`.
_KINDS: dict[str, _Kind] = {
    "a word for a number": _Kind(lambda _: {"dep_time": "late"}, "dep_time", "type"),
    "a day as nobody asked for it": _Kind(lambda _: {"time_hour": "04/07/2013 10:00"}, "time_hour", "type"),
    "nothing where something must be": _Kind(lambda _: {"origin": "NA"}, "origin", "not_null"),
    "a number too large": _Kind(lambda _: {"distance": "99999"}, "distance", "in_range"),
    "an airport that is none of three": _Kind(lambda _: {"origin": "SWF"}, "origin", "isin"),
    "a tail number of odd characters": _Kind(lambda _: {"tailnum": "???"}, "tailnum", "str_matches"),
    "a century too early": _Kind(lambda _: {"time_hour": "1913-07-04T10:00:00Z"}, "time_hour", "time_range"),
    "a minute that disagrees": _Kind(_minute_later, "sched_dep_time, hour, minute", "schedule_agrees"),
    "a flight to where it is": _Kind(lambda row: {"dest": row["origin"]}, "origin, dest", "leaves_its_origin"),
    "cells missing": _Kind(lambda _: {}, "", "row_shape"),
    "text after a closing quote": _Kind(lambda row: {"carrier": f'"{row["carrier"]}"X'}, "", "row_shape"),
    "the row before once more": _Kind(lambda _: {}, _KEY, "unique"),
}


def write_years(year: Path, copies: int, out: BinaryIO, *, planted: BinaryIO | None = None) -> list[Error]:
    """Write the year `copies` times under one header, each copy a year later.

    Args:
        planted: Write the same with errors in one row of a hundred here too.

    Returns:
        What is wrong in the planted file, by line.
    """
    frame = pl.read_csv(year, infer_schema=False)
    errors: list[Error] = []
    for copy in range(copies):
        text = _later(frame, copy).write_csv(include_header=copy == 0)
        out.write(text.encode())
        if planted is not None:
            lines = text.split("\n")
            before = 0 if copy == 0 else 1 + copy * frame.height
            errors += _plant(lines, frame.columns, before, random.Random(SEED + copy))
            planted.write("\n".join(lines).encode())
    return errors


def write_contract(source: Path, target: Path, copies: int) -> Contract:
    """Write the demo's contract for as many years."""
    document = yaml.safe_load(source.read_text(encoding="utf-8"))
    document["columns"]["year"]["checks"] = {"in_range": [FIRST_YEAR, FIRST_YEAR + copies - 1]}
    document["time"]["max"] = f"{FIRST_YEAR + copies}-01-02T00:00:00Z"
    target.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return load_contract(target)


def _later(frame: pl.DataFrame, years: int) -> pl.DataFrame:
    moved = pl.col("time_hour").str.head(4).cast(pl.Int64) + years
    return frame.with_columns(
        (pl.col("year").cast(pl.Int64) + years).cast(pl.String),
        time_hour=moved.cast(pl.String) + pl.col("time_hour").str.slice(4),
    )


def _plant(lines: list[str], names: list[str], before: int, chance: random.Random) -> list[Error]:
    """Spoil some lines in place; `before` are the lines of the file before these."""
    # Every other line at most: the line before a spoiled one is good, so that a repetition repeats a good row.
    chosen = sorted(chance.sample(range(2, len(lines) - 1, 2), int(len(lines) * PLANTED_FRACTION)))
    errors = []
    for at, name in zip(chosen, cycle(_KINDS)):
        lines[at] = _spoiled(name, lines[at], lines[at - 1], names)
        errors.append(Error(before + at + 1, _KINDS[name].column, _KINDS[name].rule))
    return errors


def _spoiled(name: str, line: str, before: str, names: list[str]) -> str:
    if name == "cells missing":
        return ",".join(line.split(",")[:-3])
    if name == "the row before once more":
        return before
    row = dict(zip(names, line.split(","), strict=True))
    return ",".join((row | _KINDS[name].spoil(row)).values())
