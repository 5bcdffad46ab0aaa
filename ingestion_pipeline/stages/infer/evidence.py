"""What is known of a column after some of its cells, in memory that does not grow with them.

What belongs here: looking at cells. What does not: what follows from it (`decisions`, `rules`).
"""

from collections import Counter
from dataclasses import dataclass, field

import polars as pl

from ingestion_pipeline.stages.infer.readings import Cast, Reading, readings_for

NULL_WORDS = (
    *("NA", "N/A", "n/a", "na", "n.a.", "NULL", "null", "Null", "(null)", "<NA>", "#N/A", "#NA", "\\N", "None", "none"),
    *("NaN", "nan", "nil", "-", "--", "---", "?", ".", "..", "missing", "unknown", "#VALUE!", "#DIV/0!", "#REF!"),
)
"""Texts that often stand for nothing; whether they do is told by the cells beside them."""
MOST_VALUES = 20
"""A column with more different values is not one of a few words."""


@dataclass(slots=True)
class Evidence:
    """One column of the samples.

    Attributes:
        rows: In the samples that have the column.
        samples: How many have it.
        nulls: Cells with nothing.
        blanks: Cells of spaces or of an empty text: null to every type but string.
        words: Cells that are one of `NULL_WORDS`.
        readings: The ways in which all other cells can be read, best first; None before the first such cell.
        values: The other cells by their text; None: too many different ones.
        digits: The most digits before the point and after it, of cells that are numbers; `fewest_after` are the fewest
            after it.
        exponents: Some number has one.
    """

    name: str
    source: str
    rows: int = 0
    samples: int = 0
    nulls: int = 0
    blanks: int = 0
    words: Counter[str] = field(default_factory=Counter)
    readings: list[Reading] | None = None
    values: Counter[str] | None = field(default_factory=Counter)
    digits: tuple[int, int] = (0, 0)
    fewest_after: int | None = None
    exponents: bool = False

    def see(self, cells: pl.Series, cast: Cast) -> None:
        """Take some more cells into account."""
        self.rows += len(cells)
        self.nulls += cells.null_count()
        cells = cells.drop_nulls()
        is_word = cells.is_in(NULL_WORDS)
        if is_word.any():
            self.words.update(_counts(cells.filter(is_word)))
            cells = cells.filter(~is_word)
        if self.values is not None:
            self.values.update(_counts(cells))
            self.values = self.values if len(self.values) <= MOST_VALUES else None
        trimmed = cells.str.strip_chars()
        filled = trimmed.filter(trimmed != "")
        self.blanks += len(trimmed) - len(filled)
        if not len(filled):
            return
        if self.readings is None:
            self.readings = readings_for(self.name, filled[0])
        self.readings = [reading for reading in self.readings if reading.takes(filled, cast)]
        if any(reading.type == "float" for reading in self.readings):
            self._count_digits(filled)

    def _count_digits(self, numbers: pl.Series) -> None:
        cell = pl.col("cell").str.strip_chars_start("+-")
        whole = cell.str.extract(r"^(\d*)").str.len_chars()
        after = cell.str.extract(r"\.(\d*)").str.len_chars().fill_null(0)
        found = pl.DataFrame({"cell": numbers}).select(
            whole=whole.max(), after=after.max(), fewest=after.min(), exponents=cell.str.contains("[eE]").any()
        )
        most_whole, most_after, fewest, exponents = found.row(0)
        self.digits = (max(self.digits[0], most_whole), max(self.digits[1], most_after))
        self.fewest_after = fewest if self.fewest_after is None else min(self.fewest_after, fewest)
        self.exponents = self.exponents or exponents


def _counts(cells: pl.Series) -> dict[str, int]:
    """How often each text occurs; of many different ones, only enough to see that they are many."""
    if cells.head(1000).n_unique() > MOST_VALUES:
        return dict.fromkeys(cells.head(1000).unique(maintain_order=True), 1)
    counted = cells.alias("value").value_counts(name="count")
    return dict(zip(counted["value"], counted["count"], strict=True))
