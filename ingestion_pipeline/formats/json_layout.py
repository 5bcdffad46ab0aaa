"""The layout of flat JSON objects: which keys in which order, with which white space around them.

What belongs here: recognizing texts that repeat a layout, exactly and many at once, and cutting them. What does
not: any text that is not of a layout (`json_records` reads those one by one).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

# The expression grows with the keys, and the automaton that runs it may not be of any size.
_MAX_KEYS = 200
_SPACE = r"[ \t\r\n]*"
_PLAIN = r'[^"\\\x00-\x1f]'
# Escapes but those of surrogates: of these only some pairs are characters.
_ESCAPE = r'\\(?:["\\/bfnrt]|u(?:[0-9a-cefA-CEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}))'
_OTHER_VALUES = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null"
_VALUE = rf'(?:"(?:{_PLAIN}|{_ESCAPE})*"|{_OTHER_VALUES})'
_MEMBER = re.compile(rf'({_SPACE})"({_PLAIN}*)"({_SPACE}:{_SPACE}){_VALUE}({_SPACE})([,}}])')


@dataclass(frozen=True, slots=True)
class Layout:
    """One layout.

    Attributes:
        pattern: A regular expression (Rust's syntax) of exactly the texts that have it.
        positions: Where each key stands, from 0.
        separator: What stands between a value and the name of the next key, its opening quote included. It
            occurs nowhere else: inside a string there is no bare quote, and neither a string that the pattern takes
            nor a key ends like the separator's part before the quote.
    """

    pattern: str
    positions: Mapping[str, int]
    separator: str
    before: str  # the first key's name
    colon: str  # closing quote of a key included
    after: str  # the last value

    @property
    def keys(self) -> Sequence[str]:
        return list(self.positions)

    @property
    def usable(self) -> bool:
        """Polars accepts the pattern."""
        try:
            pl.Series([""]).str.contains(self.pattern)
        except pl.exceptions.PolarsError:
            return False
        return True

    def values(self, texts: pl.Series, keys: Iterable[str]) -> dict[str, pl.Series]:
        """The texts of values of those keys that the layout has.

        Args:
            texts: Strings that match the pattern.
        """
        last = len(self.positions) - 1
        members = texts.str.split_exact(self.separator, last).struct if last else None
        found: dict[str, pl.Series] = {}
        for key in keys:
            position = self.positions.get(key)
            if position is None:
                continue
            member = texts if members is None else members.field(f"field_{position}")
            prefix = (self.before if position == 0 else "") + key + self.colon
            value = member.str.strip_prefix(prefix)
            found[key] = value.str.strip_suffix(self.after) if position == last else value
        return found


def layout_of(text: str) -> Layout | None:
    """The layout of a text, if it is a flat object with regular white space and no key twice."""
    names: list[str] = []
    gaps: set[tuple[str, str]] = set()
    colons: set[str] = set()
    if not text.startswith("{"):
        return None
    position, end, before, after = 1, "", "", ""
    last_after = ""
    while end != "}":
        member = _MEMBER.match(text, position)
        if member is None or len(names) == _MAX_KEYS:
            return None
        gap, name, colon, after, end = member.groups()
        if names:
            gaps.add((last_after, gap))
        else:
            before = gap
        names.append(name)
        colons.add(colon)
        position, last_after = member.end(), after
    if position != len(text) or len(colons) != 1 or len(gaps) > 1 or len(set(names)) != len(names):
        return None
    separator = ",".join(gaps.pop() if gaps else ("", "")) + '"'
    if any(name.endswith(separator[-2]) for name in names):
        return None
    before, colon, after = "{" + before + '"', '"' + colons.pop(), after + "}"
    final = re.escape(separator[-2])
    value = rf'(?:"(?:(?:{_PLAIN}|{_ESCAPE})*(?:[^"\\\x00-\x1f{final}]|{_ESCAPE}))?"|{_OTHER_VALUES})'
    members = re.escape(separator).join(re.escape(name + colon) + value for name in names)
    return Layout(
        pattern=f"^{re.escape(before)}{members}{re.escape(after)}$",
        positions={name: number for number, name in enumerate(names)},
        separator=separator,
        before=before,
        colon=colon,
        after=after,
    )
