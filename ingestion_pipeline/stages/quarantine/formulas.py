"""Cells that a spreadsheet would run as formulas, made text.

What belongs here: which cells these are, and the apostrophe. What does not: files. A workbook needs none of
this: its cells have a type.

It follows OWASP's advice on CSV injection (https://owasp.org/www-community/attacks/CSV_Injection), which asks for more
than to look at a cell's first character: behind quotes and what cannot be seen (spaces, control characters, marks) a
sign is still one to some programs, and where the list separator is a semicolon, as it is in much of Europe, Excel cuts
quoted cells of a CSV with commas at every semicolon and line break in them. A cell that is nothing but a plain number
(`-5`, `+1.5`, `-2e3`) is left alone: it cannot do anything, and is most of what begins with a sign.
"""

import polars as pl
import polars.selectors as cs

NEUTRALISED = "neutralised"
"""The column that names an entry's changed cells; empty where all are as they were."""

_SIGN = "[=+\\-@＝＋－＠]"  # also the full-width ones, which Excel takes for the others
_UNSEEN = "[\\p{Cc}\\p{Cf}\\p{Z}\"'`]*"
_NUMBER = r"^[+-](?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
_BEGINS = rf"^(?:[\t\r\n]|{_UNSEEN}{_SIGN})"
_INSIDE = rf"([;\r\n]{_UNSEEN})({_SIGN})"


def neutralised(entries: pl.DataFrame) -> pl.DataFrame:
    """The entries with an apostrophe before everything that could begin a formula, and the column `NEUTRALISED`."""
    texts = entries.select(cs.string())
    safe = texts.select(_safe(pl.col(name)) for name in texts.columns)
    changed = [pl.when(safe[name].ne_missing(texts[name])).then(pl.lit(name)).alias(name) for name in texts.columns]
    return entries.with_columns(safe).with_columns(
        pl.concat_str(changed, separator=", ", ignore_nulls=True).alias(NEUTRALISED)
    )


def _safe(cell: pl.Expr) -> pl.Expr:
    inside = cell.str.replace_all(_INSIDE, "${1}'${2}")
    whole = pl.when(cell.str.contains(_BEGINS)).then(pl.concat_str(pl.lit("'"), inside)).otherwise(inside)
    return pl.when(cell.str.contains(_NUMBER)).then(cell).otherwise(whole)
