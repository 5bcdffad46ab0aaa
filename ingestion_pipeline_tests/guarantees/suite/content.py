"""Files of the suite: CSV text from a random generator, and exactly the rows that Druid must then return.

What belongs here: what a file has in it. What does not: when and under which key it is sent (`schedule`, `sender`).
Every row has an id of its own (item, version, number), so that a row that is found says where it came from.
"""

import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Literal

from ingestion_pipeline_tests.guarantees.suite.surroundings import Datasource

COLUMNS = ("__time", "id", "place", "words", "reading", "tally", "flag", "amount", "__organization")
"""What is compared, in this order: everything but the job's id, which a replay changes."""

Row = tuple[str | int | float | None, ...]
Kind = Literal["good", "header_only", "binary", "all_rejected"]

FAILS_WITH: dict[str, str] = {"binary": "unreadable", "all_rejected": "no_accepted_rows"}
"""The outcomes of files that are bad as a whole."""

_PLACES = ("roof", "cellar", "Zürich", "東京", "São Paulo", "o'hare")
_PLAIN_WORDS = ("rain", "sun and wind", "a, b and c", 'a "quoted" word', "crème brûlée 🚀", "back\\slash", "NULL", "0")
_HARD_WORDS = ("two\nlines", "carriage\r\nreturn", "", " ", "tab\tinside", 'all "of, \n it"', "null")
_SPREAD = {"hour": timedelta(hours=5), "day": timedelta(days=2), "month": timedelta(days=70)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """One version of a file.

    Attributes:
        rows: What Druid must return of it, cells in the order of COLUMNS.
        rejects: Rows of it that break a rule, repaired: what a correction of the rejected rows would send.
    """

    kind: Kind
    data: bytes
    suffix: str
    rows: tuple[Row, ...]
    rejects: tuple[Row, ...]

    @property
    def fails_with(self) -> str | None:
        """The outcome of its job, if it cannot be loaded."""
        return FAILS_WITH.get(self.kind)


def fingerprint(row: Row) -> str:
    """sha256 (hex) of a whole row."""
    return hashlib.sha256(json.dumps(row, ensure_ascii=False).encode()).hexdigest()


def make(
    random: Random,
    *,
    mark: str,
    datasource: Datasource,
    organization: str,
    day: date,
    kind: Kind,
    rows: int,
    rejected: int,
    compressed: bool,
) -> Content:
    """A file.

    Args:
        mark: Begins the ids of its rows.
        rows: Accepted ones; `rejected` more come among them.
    """
    suffix = ".csv.gz" if compressed else ".csv"
    if kind == "binary":
        return Content(kind=kind, data=b"\x89PNG\r\n\x1a\n" + random.randbytes(900), suffix=suffix, rows=(), rejects=())
    good, bad = rows, rejected
    if kind == "header_only":
        good = bad = 0
    if kind == "all_rejected":
        good, bad = 0, rows
    made = [
        _row(random, f"{mark}.{number:03}", datasource, organization, _moment(random, datasource, day))
        for number in range(good + bad)
    ]
    spoiled = set(random.sample(range(len(made)), bad))
    lines = [",".join(COLUMNS[1:-1]) + ",at"]
    lines += [_line(row, spoil=random.choice(_SPOIL) if at in spoiled else None) for at, row in enumerate(made)]
    data = ("\n".join(lines) + "\n").encode()
    return Content(
        kind=kind,
        data=gzip.compress(data, mtime=0) if compressed else data,
        suffix=suffix,
        rows=tuple(row for at, row in enumerate(made) if at not in spoiled),
        rejects=tuple(row for at, row in enumerate(made) if at in spoiled),
    )


def fix_of(content: Content) -> Content:
    """The file that corrects the rejected rows of another."""
    lines = [",".join(COLUMNS[1:-1]) + ",at", *(_line(row, spoil=None) for row in content.rejects)]
    return Content(
        kind="good", data=("\n".join(lines) + "\n").encode(), suffix=".csv", rows=content.rejects, rejects=()
    )


def _moment(random: Random, datasource: Datasource, day: date) -> datetime:
    """Around the file's day, so that files of neighbouring days meet in Druid's time chunks."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return noon + timedelta(milliseconds=random.randrange(_SPREAD[datasource.granularity] // timedelta(milliseconds=1)))


def _row(random: Random, row_id: str, datasource: Datasource, organization: str, moment: datetime) -> Row:
    hard = datasource.texts and random.random() < 0.3
    return (
        f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z",
        row_id,
        random.choice(_PLACES) if random.random() < 0.9 else None,
        random.choice(_HARD_WORDS if hard else _PLAIN_WORDS) if random.random() < 0.9 else None,
        random.randrange(801) / 8,  # exact in binary, and so the same text everywhere
        random.randrange(-(2**53), 2**53) if random.random() < 0.9 else None,
        random.choice((0, 1, None)),
        f"{random.randrange(10**6)}.{random.randrange(100):02}" if random.random() < 0.9 else None,
        organization,
    )


_SPOIL = ("range", "type", "absent")


def _line(row: Row, *, spoil: str | None) -> str:
    moment, row_id, place, words, reading, tally, flag, amount, _ = row
    cells = [row_id, place, words, reading, tally, None if flag is None else str(bool(flag)).lower(), amount, moment]
    if spoil == "range":
        cells[3] = 1000.5
    if spoil == "type":
        cells[4] = "many"
    if spoil == "absent":
        cells[7] = None
    return ",".join(_cell(cell) for cell in cells)


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = str(value)
    if text and not any(character in text for character in ',"\r\n') and text == text.strip():
        return text
    return '"' + text.replace('"', '""') + '"'


def by_id(rows: Sequence[Row]) -> dict[str, Row]:
    """Rows by their ids."""
    return {str(row[1]): row for row in rows}
