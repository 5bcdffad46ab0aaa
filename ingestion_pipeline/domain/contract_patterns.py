"""Patterns over the bucket's keys: which keys one claims, what it reads from them, whether two can meet.

What belongs here: one pattern, or two. What does not: choosing a datasource for a key (`routing`).

In a pattern `*` is anything inside one path segment, `**` anything at all, `?` one character, and a name
in braces is a part of the key that means something: `{organization}`, `{date}` (yyyy-mm-dd), `{yyyy}`,
`{mm}`, `{dd}`, `{job_id}`, `{name}`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Self

PLACEHOLDERS = ("organization", "date", "yyyy", "mm", "dd", "job_id", "name")
UPLOADS_PREFIX = "uploads/"
LOADED_PREFIX = "loaded/"
"""Where uploads are moved to once they are loaded, if their contract says so."""
OWN_PREFIXES = ("cleaned/", "dagster/", LOADED_PREFIX, "quarantine/")
"""What the pipeline itself writes: never looked at, and no contract may claim it."""
RESERVED_PREFIXES = (UPLOADS_PREFIX, *OWN_PREFIXES)

_TOKEN = re.compile(r"\{([^{}]*)\}|(\*\*/?)|(\*)|(\?)|([^{}*?]+)|([{}])")
_DATE_FORMS = {"date": r"\d{4}-\d{2}-\d{2}", "yyyy": r"\d{4}", "mm": r"\d{2}", "dd": r"\d{2}"}


@dataclass(frozen=True, slots=True)
class KeyMatch:
    """What a pattern read from a key.

    Attributes:
        day_text: The date as the key has it, or None where the pattern has no date.
        day: The date, or None when it is no date of the calendar (or the pattern has none).
    """

    organization: str | None
    day_text: str | None
    day: date | None
    job_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePattern:
    """A pattern and, where it has no `{organization}`, the organization that its keys belong to."""

    pattern: str
    organization: str | None = None
    builtin: bool = False

    @classmethod
    def for_uploads(cls, datasource: str) -> Self:
        """The pattern that every contract has: uploads made through the CLI and the API."""
        return cls(pattern=f"{UPLOADS_PREFIX}{{organization}}/{datasource}/{{date}}/{{job_id}}/{{name}}", builtin=True)

    @property
    def has_date(self) -> bool:
        return "{date}" in self.pattern or "{yyyy}" in self.pattern

    @property
    def static_prefix(self) -> str:
        """The text before the first placeholder or wildcard: every claimed key begins with it."""
        return re.split(r"[{*?]", self.pattern, maxsplit=1)[0]

    def hot_prefix(self, *, organization: str, day: date) -> str | None:
        """The prefix of one organization's keys of one day; None where the pattern does not narrow by day."""
        if not self.has_date or (self.organization is not None and self.organization != organization):
            return None
        values = {
            "organization": organization,
            "date": day.isoformat(),
            "yyyy": f"{day:%Y}",
            "mm": f"{day:%m}",
            "dd": f"{day:%d}",
        }
        prefix, dated = "", False
        for placeholder, literal in _parts(self.pattern):
            if literal is not None:
                prefix += literal
            elif placeholder in values:
                prefix += values[placeholder]
                dated = dated or placeholder in {"date", "dd"}
            else:
                break
        return prefix if dated else None

    def match(self, key: str, *, lenient: bool = False) -> KeyMatch | None:
        """What the pattern reads from `key`, or None if it does not claim it.

        Args:
            lenient: Let any text stand where the date should be (`dt=unknown/`), so that a file with an odd
                date is loaded with a warning instead of being overlooked.
        """
        found = _compiled(self.pattern, lenient).fullmatch(key)
        if found is None:
            return None
        groups = found.groupdict()
        day_text = groups.get("date")
        if day_text is None and "yyyy" in groups:
            day_text = f"{groups['yyyy']}-{groups.get('mm', '01')}-{groups.get('dd', '01')}"
        return KeyMatch(
            organization=groups.get("organization") or self.organization,
            day_text=day_text,
            day=_calendar_day(day_text),
            job_id=groups.get("job_id"),
        )


def pattern_problem(pattern: str, organization: str | None) -> str | None:
    """What is wrong with a pattern of a contract, as one sentence; None if nothing is."""
    names = [name for name, _, _, _, _, _ in _TOKEN.findall(pattern) if name]
    unknown = [name for name in names if name not in PLACEHOLDERS]
    if unknown or any(stray for *_, stray in _TOKEN.findall(pattern)) or "{}" in pattern:
        shown = f"{{{unknown[0]}}}" if unknown else "a brace without a name"
        return f"{shown} is no placeholder; there are {', '.join('{' + name + '}' for name in PLACEHOLDERS)}."
    prefix = FilePattern(pattern=pattern).static_prefix
    problem = None
    if len(names) != len(set(names)):
        problem = "a placeholder stands in it twice."
    elif "date" in names and {"yyyy", "mm", "dd"} & set(names):
        problem = "{date} and {yyyy}/{mm}/{dd} exclude each other."
    elif ({"mm", "dd"} & set(names) and "yyyy" not in names) or ("dd" in names and "mm" not in names):
        problem = "{mm} needs {yyyy}, and {dd} needs both."
    elif pattern.startswith("/"):
        problem = "keys do not begin with '/'."
    elif "/" not in prefix and pattern != prefix:
        problem = "its first path segment must be plain text, or every object of the bucket would be listed."
    elif prefix.startswith(RESERVED_PREFIXES):
        problem = f"{', '.join(RESERVED_PREFIXES)} belong to the system; uploads/ is claimed for every contract anyway."
    elif "organization" in names and organization is not None:
        problem = "it has {organization} and a fixed organization; keep one of them."
    elif "organization" not in names and organization is None:
        problem = "nothing says whose files these are: add {organization} or the key 'organization'."
    return problem


def can_meet(first: str, second: str) -> bool:
    """Whether some key could be claimed by both patterns (dates counted as well-formed)."""
    left, right = tuple(_alphabet(first)), tuple(_alphabet(second))
    seen: set[tuple[int, int]] = set()
    todo = [(0, 0)]
    while todo:
        i, j = todo.pop()
        if (i, j) in seen:
            continue
        seen.add((i, j))
        if i == len(left) and j == len(right):
            return True
        # A repeated class may end here (step over it) or eat one more character together with the other side.
        if i < len(left) and left[i][1]:
            todo.append((i + 1, j))
        if j < len(right) and right[j][1]:
            todo.append((i, j + 1))
        if i < len(left) and j < len(right) and _classes_meet(left[i][0], right[j][0]):
            todo.append((i if left[i][1] else i + 1, j if right[j][1] else j + 1))
    return False


_ANY, _SEGMENT, _DIGIT = "any", "segment", "digit"


def _alphabet(pattern: str) -> Iterator[tuple[str, bool]]:
    """The pattern as (character class, repeated) pairs; a literal's class is the character itself."""
    for name, double, star, question, literal, _ in _TOKEN.findall(pattern):
        if name in _DATE_FORMS:
            digits = {"date": (4, 2, 2), "yyyy": (4,), "mm": (2,), "dd": (2,)}[name]
            for number, width in enumerate(digits):
                if number:
                    yield "-", False
                for _ in range(width):
                    yield _DIGIT, False
        elif name:
            yield _SEGMENT, False
            yield _SEGMENT, True
        elif double:
            yield _ANY, True
        elif star:
            yield _SEGMENT, True
        elif question:
            yield _SEGMENT, False
        else:
            for character in literal:
                yield character, False


def _classes_meet(first: str, second: str) -> bool:
    if len(first) > 1 and len(second) > 1:
        return True
    if len(first) > 1:
        first, second = second, first
    return {_ANY: True, _SEGMENT: first != "/", _DIGIT: first.isdigit()}.get(second, first == second)


def _parts(pattern: str) -> Iterator[tuple[str, str | None]]:
    """Placeholder names (or "" for a wildcard) and literals, in order."""
    for name, double, star, question, literal, _ in _TOKEN.findall(pattern):
        yield (name, None) if name else ("", None if double or star or question else literal)


@lru_cache(maxsize=4096)
def _compiled(pattern: str, lenient: bool) -> re.Pattern[str]:
    expression = ""
    for name, double, star, question, literal, _ in _TOKEN.findall(pattern):
        if name:
            form = r"[^/]+" if lenient else _DATE_FORMS.get(name, r"[^/]+")
            expression += f"(?P<{name}>{form})"
        elif double:
            expression += r"(?:.*/)?" if double.endswith("/") else r".*"
        elif star:
            expression += r"[^/]*"
        elif question:
            expression += r"[^/]"
        else:
            expression += re.escape(literal)
    return re.compile(expression, re.DOTALL)


def _calendar_day(text: str | None) -> date | None:
    if text is None or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
