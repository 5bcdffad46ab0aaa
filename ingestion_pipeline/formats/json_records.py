"""Texts of JSON objects to a table of text cells: one row per object, one column per column of the contract.

What belongs here: what an object's text means, and which text is no object. What does not: where an object
begins and ends in the file (`json_scan`, `json_reader`), what a cell may hold (`stages.validate`).

A cell is what stands in the file: a number keeps its spelling (`1e5`, `1.10`, any number of digits), a string is
decoded, nested objects and arrays are their own text without the white space between tokens, null and an absent
key are null. No number is ever parsed here.

A text takes one of two ways. Most files repeat one layout: the same keys in the same order with the same white
space. A regular expression made of the first object says which texts have its layout and hold no nested values;
those are cut into columns by Polars, thousands at once. The others are read one by one. Both ways give the same.
"""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import msgspec
import polars as pl

from ingestion_pipeline.domain.contract import Column
from ingestion_pipeline.domain.contract_names import AmbiguousNames, ColumnNames
from ingestion_pipeline.domain.contract_numbers import has_marks, with_marks
from ingestion_pipeline.formats.json_layout import Layout, layout_of
from ingestion_pipeline.formats.records import MAX_CELLS
from ingestion_pipeline.formats.rescued import json_key, json_objects

# Deeper nesting is refused by count, not by the interpreter's stack, which differs from call to call.
MAX_DEPTH = 200
# Keys take memory long before their bytes do.
_MAX_KEYS = 1_000_000
# Different layouts that are tried on every chunk; and how often a chunk may look for a new one in vain.
_MAX_LAYOUTS = 8
_MAX_ATTEMPTS = 3
# Names of keys that are kept for the report.
_MAX_NAMES, _MAX_NAME_CHARACTERS = 1000, 200

_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SPACE = re.compile(r"[ \t\r\n]")
_STRING_OR_SPACE = re.compile(rf"({_STRING})|[ \t\r\n]+", re.DOTALL)
_STRING_OR_BRACKET = re.compile(rf"{_STRING}|([\[{{])|([\]}}])", re.DOTALL)

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_strings = msgspec.json.Decoder(list[str]).decode

Fields = dict[str, bytes]


class NoObject(Exception):
    """Why a text is no JSON object; the message is for the owner of the file."""


@dataclass(frozen=True, slots=True)
class Table:
    """Some objects as rows.

    Attributes:
        cells: Strings, one column per contract column.
        rows: UInt32, the number of the text that each row is.
        malformed: The numbers of the other texts, each with the reason.
    """

    cells: pl.DataFrame
    rows: pl.Series
    malformed: list[tuple[int, str]]


class JsonTables:
    """Makes tables of texts, and remembers layouts and keys from one to the next.

    Args:
        literal_keys: There is no contract: sources are names of top-level keys, dots are a part of them, and every
            name is kept whole, up to `MAX_CELLS`.

    Attributes:
        keys: Names of top-level keys, each with the number of a text that has it and its place there: the first
            `_MAX_NAMES`, long ones shortened.
        more_keys: There are more names than that.
        unknown: Keys that no contract column reads, likewise.
        matched: The key under which some row had a contract column (by position), be it null; the first one found.
    """

    def __init__(self, names: ColumnNames, null_values: Sequence[str], *, literal_keys: bool = False) -> None:
        self.keys: dict[str, tuple[int, int]] = {}
        self._texts = 0  # in the tables until now
        self.more_keys = False
        self.unknown: dict[str, None] = {}
        self.matched: dict[int, str] = {}
        self._names = names
        self._columns = names.columns
        self._targets = [column.name for column in self._columns] + ([names.rescued] if names.rescued else [])
        self._sources = [column.source for column in self._columns]
        self._dotted = [
            (n, tuple(name.split(".")))
            for n, column in enumerate(self._columns)
            for name in (column.source, *column.aliases)
            if "." in name and name not in names.literal
        ]
        self._max_names, self._max_name_characters = _MAX_NAMES, _MAX_NAME_CHARACTERS
        if literal_keys:
            self._dotted = []
            self._max_names, self._max_name_characters = MAX_CELLS, sys.maxsize
        self._roots = {path[0] for _, path in self._dotted}
        self._null_values = list(null_values)
        self._layouts: list[tuple[Layout, dict[int, str]]] = []

    def table(self, texts: pl.Series) -> Table:
        """The rows of some texts.

        Args:
            texts: Strings without white space around them.
        """
        parts: list[tuple[pl.Series, pl.DataFrame]] = []
        rows = pl.int_range(len(texts), dtype=pl.UInt32, eager=True)
        rest = texts
        for layout, matched in self._layouts:
            rows, rest = self._take(layout, matched, rows, rest, parts)
        attempts = 0
        while len(rest) and attempts < _MAX_ATTEMPTS and len(self._layouts) < _MAX_LAYOUTS:
            new = layout_of(rest[attempts]) if attempts < len(rest) else None
            own = self._matched(new.keys) if new is not None and new.usable else None
            if new is None or own is None:
                attempts += 1
                continue
            self._layouts.append((new, own))
            self._remember(new.keys, self._texts + rows[attempts])
            self.matched = own | self.matched
            rows, rest = self._take(new, own, rows, rest, parts)
        malformed: list[tuple[int, str]] = []
        if len(rest):
            parts.append(self._one_by_one(rows.to_list(), rest, malformed))
        cells = pl.concat([part for _, part in parts]) if parts else self._empty()
        numbers = pl.concat([numbers for numbers, _ in parts]) if parts else rows
        if len(parts) > 1:
            order = numbers.arg_sort()
            cells, numbers = cells[order] if cells.width else cells, numbers.gather(order)
        self._texts += len(texts)
        return Table(self._with_null_values(cells), numbers, malformed)

    def _unknown(self, keys: Iterable[str], matched: dict[int, str]) -> list[str]:
        """Keys that no contract column reads, which are also kept for the report."""
        read = set(matched.values())
        unknown = [key for key in keys if key not in read and key not in self._roots]
        for key in unknown if len(self.unknown) < self._max_names else ():
            self.unknown.setdefault(key[: self._max_name_characters])
        return unknown

    def _matched(self, keys: Sequence[str]) -> dict[int, str] | None:
        """The key of each contract column; None where two fit one: such a row is none."""
        try:
            return self._names.matched(keys)
        except AmbiguousNames:
            return None

    def _take(
        self,
        layout: Layout,
        matched: dict[int, str],
        rows: pl.Series,
        texts: pl.Series,
        parts: list[tuple[pl.Series, pl.DataFrame]],
    ) -> tuple[pl.Series, pl.Series]:
        """Move the texts of a layout to `parts`; what is left."""
        if not len(texts):
            return rows, texts
        fits = texts.str.contains(layout.pattern)
        if not fits.any():
            return rows, texts
        if fits.all():
            parts.append((rows, self._cut(layout, matched, texts)))
            return rows.clear(), texts.clear()
        parts.append((rows.filter(fits), self._cut(layout, matched, texts.filter(fits))))
        return rows.filter(~fits), texts.filter(~fits)

    def _cut(self, layout: Layout, matched: dict[int, str], texts: pl.Series) -> pl.DataFrame:
        escapes = texts.str.contains("\\", literal=True).any()
        unknown = self._unknown(layout.keys, matched)
        rescued = self._names.rescued
        values = layout.values(texts, layout.keys if rescued else matched.values())
        nothing = pl.Series([None], dtype=pl.String).new_from_index(0, len(texts))
        cells = [
            _typed_cells(values[matched[n]], column, escapes=escapes).alias(column.name)
            if n in matched
            else nothing.alias(column.name)
            for n, column in enumerate(self._columns)
        ]
        if rescued:
            members = [(key, values[key].set(values[key] == "null", None)) for key in unknown]
            cells.append(json_objects(members, len(texts)).alias(rescued))
        return pl.DataFrame(cells)

    def _one_by_one(
        self, rows: list[int], texts: pl.Series, malformed: list[tuple[int, str]]
    ) -> tuple[pl.Series, pl.DataFrame]:
        good: list[int] = []
        values: list[list[bytes | None]] = [[] for _ in self._targets]
        for row, text in zip(rows, texts, strict=True):
            try:
                found = self._values(text, self._texts + row)
            except NoObject as error:
                malformed.append((row, str(error)))
                continue
            good.append(row)
            for value, column in zip(found, values, strict=True):
                column.append(value)
        cells: list[pl.Series] = []
        for name, target, texts_of_values in zip_longest(self._targets, self._columns, values):
            raw = pl.Series(name, texts_of_values, dtype=pl.Binary).cast(pl.String)
            cells.append(_typed_cells(raw, target, escapes=True))
        for position, source in enumerate(self._sources):
            if position not in self.matched and any(value is not None for value in values[position]):
                self.matched[position] = source
        return pl.Series(good, dtype=pl.UInt32), pl.DataFrame(cells)

    def _values(self, text: str, number: int) -> list[bytes | None]:
        """The texts of a row's values, one per target; None where the key is absent."""
        fields = read_object(text)
        has_new_keys = not fields.keys() <= self.keys.keys()
        if has_new_keys:
            self._remember(fields, number)
        values = [fields.get(source) for source in self._sources]
        if has_new_keys or not self._names.are_plain:
            matched = self._matched_in(fields)
            for position, name in matched.items():
                values[position] = fields[name]
            unknown = self._unknown(fields, matched)
            if self._names.rescued:
                values.append(_object_of(fields, unknown))
        if self._dotted:
            inside: dict[tuple[str, ...], Fields] = {}
            for position, path in self._dotted:
                if values[position] is None:
                    values[position] = _reach(fields, path, inside)
        return values

    def _matched_in(self, fields: Fields) -> dict[int, str]:
        """The key of each contract column in a row.

        Raises:
            NoObject: Two of its keys fit one column.
        """
        try:
            matched = self._names.matched(fields)
        except AmbiguousNames as error:
            raise NoObject(f"its keys {error}, and only one can be read") from error
        if not matched.keys() <= self.matched.keys():
            self.matched = matched | self.matched
        return matched

    def _remember(self, keys: Sequence[str] | Fields, number: int) -> None:
        for position, key in enumerate(keys):
            name = key[: self._max_name_characters]
            if name not in self.keys and len(self.keys) == self._max_names:
                self.more_keys = True
                return
            place = (number, position)
            self.keys[name] = min(place, self.keys.get(name, place))

    def _with_null_values(self, cells: pl.DataFrame) -> pl.DataFrame:
        if not self._null_values:
            return cells
        return cells.select(pl.when(~pl.all().is_in(self._null_values)).then(pl.all()))

    def _empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema=dict.fromkeys(self._targets, pl.String))


def read_object(text: str) -> Fields:
    """The members of an object, each value as its own text.

    Raises:
        NoObject: It is no JSON object, or has a key twice.
    """
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise NoObject(f"it is nested deeper than {MAX_DEPTH} levels")
    if len(text) > _MAX_KEYS and text.count('":') > _MAX_KEYS:
        raise NoObject(f"it has more than {_MAX_KEYS:,} keys")
    try:
        fields: Any = _object(text)
    except msgspec.ValidationError as error:
        raise NoObject("it is no JSON object") from error
    except RecursionError as error:
        raise NoObject("it is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise NoObject(_reason(error)) from error
    texts = list(map(bytes, fields.values()))
    # A key that comes again takes the place of the first: then quotes are missing in the sum.
    if 2 * len(texts) + b"".join(texts).count(b'"') != text.count('"'):
        repeated = _repeated_key(text)
        if repeated is not None:
            raise NoObject(f"the key '{repeated[:_MAX_NAME_CHARACTERS]}' occurs twice")
    return dict(zip(fields, texts, strict=True))


def _object_of(fields: Fields, keys: Sequence[str]) -> bytes | None:
    """An object with some members of another, but for those that are null; None where there is none."""
    members = [json_key(key).encode() + fields[key] for key in keys if fields[key] != b"null"]
    return b"{" + b",".join(members) + b"}" if members else None


def _reason(error: Exception) -> str:
    if "truncated" in str(error):
        return "it is no JSON object: it ends too early"
    return f"it is no JSON object: {str(error).removeprefix('JSON is malformed: ')}"


def _repeated_key(text: str) -> str | None:
    """A key that the outermost object has twice."""
    outermost: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> None:
        nonlocal outermost
        outermost = pairs  # the outermost object is finished last

    json.loads(text, object_pairs_hook=keep, parse_int=str, parse_float=str)
    seen: set[str] = set()
    for key, _ in outermost:
        if key in seen:
            return key
        seen.add(key)
    return None


def _depth(text: str) -> int:
    depth = deepest = 0
    for found in _STRING_OR_BRACKET.finditer(text):
        if found[1]:
            depth += 1
            deepest = max(deepest, depth)
        elif found[2]:
            depth -= 1
    return deepest


def _reach(fields: Fields, path: tuple[str, ...], inside: dict[tuple[str, ...], Fields]) -> bytes | None:
    """The value behind keys that lead into nested objects; None where one of them is absent or no object.

    Args:
        inside: Nested objects of the row that were read already, by their path.
    """
    raw = fields.get(path[0])
    for depth in range(1, len(path)):
        if raw is None or not raw.startswith(b"{"):
            return None
        if path[:depth] not in inside:
            inside[path[:depth]] = read_object(raw.decode())
        raw = inside[path[:depth]].get(path[depth])
    return raw


def _typed_cells(values: pl.Series, column: Column | None, *, escapes: bool) -> pl.Series:
    """Texts of values as cells of a column; its marks are about text, so numbers are written with them here."""
    if column is not None and has_marks(column):
        is_number = values.str.contains(r"^[0-9-]")
        values = values.zip_with(~is_number.fill_null(False), with_marks(values, column))
    return _cells(values, escapes=escapes)


def _cells(values: pl.Series, *, escapes: bool) -> pl.Series:
    """Texts of values as cells; null where there is none."""
    nulls = values == "null"
    cells = values
    if (quoted := values.str.starts_with('"')).any():
        cells = values.str.strip_prefix('"').str.strip_suffix('"')
        escaped = quoted & values.str.contains("\\", literal=True) if escapes else None
        if escaped is not None and escaped.any():
            decoded = _strings("[" + ",".join(values.filter(escaped)) + "]")
            cells = cells.scatter(escaped.arg_true(), pl.Series(decoded, dtype=pl.String))
    if (nested := values.str.contains(r"^[\[{]")).any():
        compact = [_without_space(text) for text in values.filter(nested)]
        cells = cells.scatter(nested.arg_true(), pl.Series(compact, dtype=pl.String))
    return cells.set(nulls, None) if nulls.any() else cells


def _without_space(text: str) -> str:
    """The text of an object or array without the white space between its tokens."""
    return _STRING_OR_SPACE.sub(lambda found: found[1] or "", text) if _SPACE.search(text) else text
