"""Mistakes in a contract, and the hints that go with them."""

import difflib
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 2, 80, 80


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: the path of the key (dotted, list positions as numbers), and what to do about it."""

    key: str
    message: str
    hint: str = ""


def suggestion(word: str, known: Iterable[str]) -> str:
    """`Did you mean 'columns'?`, or an empty text."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'?" if near else ""


def shown(value: object) -> str:
    """A value as Python writes it, shortened: aliases let a small file hold a value of any size and depth."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python writes no number of more than some thousand digits
        return "the number"
