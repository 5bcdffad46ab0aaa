"""Which column, or which other column together with the time, tells the rows of a file apart.

What belongs here: finding a key that chance does not explain. What does not: the rule itself (`stages.validate`).
Memory grows with the rows that are looked at: eight bytes for each candidate.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from ingestion_pipeline.domain.contract import Column
from ingestion_pipeline.stages.infer.names import singular
from ingestion_pipeline.stages.infer.readings import Cast

_ID_WORDS = frozenset(("id", "uuid", "guid", "key"))
_FEWEST_ROWS = 10
_FEWEST_ROWS_OF_A_FIRST_COLUMN = 100
_EXPECTED_REPEATS = 10
_MOST_CANDIDATES = 8


@dataclass(slots=True)
class _Key:
    """Columns that may be a key.

    Attributes:
        hashes: Of the present file's rows.
        unique: No file has had a repeat.
        expected: As many repeats there would be if the time and the other column had nothing to do with each other.
    """

    names: tuple[str, ...]
    hashes: list[pl.Series] = field(default_factory=list)
    unique: bool = True
    expected: float = 0.0

    def distinct(self) -> int:
        return pl.concat(self.hashes).n_unique() if self.hashes else 0


def is_id(name: str) -> bool:
    """Whether a name says that its column identifies something."""
    return name.rsplit("_", maxsplit=1)[-1] in _ID_WORDS


def key_of(
    files: Iterable[Iterable[pl.DataFrame]],
    *,
    ids: Sequence[Column],
    groups: Sequence[Column],
    time: Column | None,
    datasource: str,
    first: str,
    cast: Cast,
) -> list[str]:
    """The columns whose values together occur once in every file, if that is evident; else none.

    One column has to be named like the key of the datasource's rows, or be an identifier and the first column. With the
    time goes a column if, by chance alone, at least ten of its pairs would have come twice.

    Args:
        files: The cells of each sample as text.
        ids: Columns that are named like identifiers.
        groups: Columns that may be a key together with the time.
        first: The name of the files' first column.
    """
    ids, groups = ids[:_MOST_CANDIDATES], groups[:_MOST_CANDIDATES] if time is not None else ()
    singles = [_Key((column.name,)) for column in ids]
    pairs = [_Key((time.name, column.name)) for column in groups if time is not None]
    if not singles and not pairs:
        return []
    columns = {column.name: column for column in (*ids, *groups, *([time] if time is not None else []))}
    rows = sum(_look_at(frames, columns, [*singles, *pairs], cast) for frames in files)
    own = {f"{prefix}{word}" for prefix in (f"{singular(datasource)}_", f"{datasource}_", "") for word in _ID_WORDS}
    for key in singles:
        named = key.names[0] in own
        enough = rows >= (_FEWEST_ROWS if named else _FEWEST_ROWS_OF_A_FIRST_COLUMN)
        if key.unique and enough and (named or key.names[0] == first):
            return list(key.names)
    return next((list(key.names) for key in pairs if key.unique and key.expected >= _EXPECTED_REPEATS), [])


def _look_at(frames: Iterable[pl.DataFrame], columns: Mapping[str, Column], keys: Sequence[_Key], cast: Cast) -> int:
    """Read one file; gives its rows."""
    parts = {name: _Key((name,)) for name in columns}
    rows = 0
    for cells in frames:
        typed = pl.DataFrame([cast(cells[name], column)[0].alias(name) for name, column in columns.items()])
        rows += typed.height
        for key in (*keys, *parts.values()):
            key.hashes.append(typed.select(key.names).hash_rows(seed=17))
    for key in keys:
        key.unique = key.unique and key.distinct() == rows
        if rows and len(key.names) > 1:
            times, groups = (parts[name].distinct() for name in key.names)
            # Of so many pairs of rows of one time, one in `groups` would be of one group as well.
            key.expected += rows * (rows / times - 1) / 2 / groups
        key.hashes.clear()
    return rows
