"""Clean tables, and the many ways in which the world writes them: each with what a reader should find.

What belongs here: tables, pollutions, truth. What does not: reading, judging (`test_pollution`).
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations

Table = tuple[list[str], list[list[str]]]
WORDS = [
    "north",
    "south",
    "river",
    "stone",
    "cloud",
    "paper",
    "green",
    "amber",
    "quiet",
    "maple",
    "harbor",
    "summit",
    "meadow",
    "lantern",
    "copper",
]


@dataclass(frozen=True)
class Written:
    """How a table is written, and what is done to its text.

    Attributes:
        lost: Numbers of rows that are damaged: a reader may leave them out or not.
    """

    header: list[str]
    rows: list[list[str]]
    delimiter: str = ","
    quote: str = '"'
    escape: str | None = None
    quote_all: bool = False
    line_end: str = "\n"
    encoding: str = "utf-8"
    header_rows: tuple[list[str], ...] = ()
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    has_header: bool = True
    final_line_end: int = 1
    mark: bytes = b""
    damage: dict[int, Callable[[str, str], str]] = field(default_factory=dict)
    blank_after: frozenset[int] = frozenset()
    mixed: bool = False

    def data(self) -> bytes:
        lines = list(self.before)
        headers = [self.header, *self.header_rows] if self.has_header else []
        lines += [self._line(cells) for cells in headers]
        for number, cells in enumerate(self.rows):
            text = self._line(cells)
            lines.append(self.damage[number](text, self.delimiter) if number in self.damage else text)
            if number in self.blank_after:
                lines.append("")
        lines += self.after
        ends = [self.line_end if not self.mixed or n % 3 else "\r\n" for n in range(len(lines))]
        text = "".join(line + end for line, end in zip(lines, ends, strict=True))
        text = text.removesuffix(ends[-1]) + self.line_end * self.final_line_end
        return self.mark + text.encode(self.encoding)

    def _line(self, cells: list[str]) -> str:
        return self.delimiter.join(map(self._cell, cells))

    def _cell(self, cell: str) -> str:
        special = (self.delimiter.strip() or self.delimiter, self.quote, "\n", "\r", self.escape or self.quote)
        if not self.quote_all and not any(mark in cell for mark in special):
            return cell
        if self.escape:
            inside = cell.replace(self.escape, self.escape * 2).replace(self.quote, self.escape + self.quote)
        else:
            inside = cell.replace(self.quote, self.quote * 2)
        return self.quote + inside + self.quote

    @property
    def found_header(self) -> list[str]:
        if not self.has_header:
            return []
        return [" ".join(filter(None, names)) for names in zip(self.header, *self.header_rows, strict=True)]


def tables(seed: int = 0) -> list[tuple[str, Table]]:
    """Tables of several looks; the same ones for the same seed."""
    r = random.Random(seed)
    word = lambda: r.choice(WORDS)  # noqa: E731
    many = range(30)
    return [
        (
            "sales",
            (
                ["id", "day", "product", "price", "count"],
                [
                    [
                        str(1000 + n),
                        f"2024-03-{1 + n % 28:02}",
                        f"{word()} {word()}",
                        f"{r.uniform(1, 99):.2f}",
                        str(r.randint(1, 50)),
                    ]
                    for n in many
                ],
            ),
        ),
        (
            "people",
            (
                ["name", "street", "city", "phone", "note"],
                [
                    [
                        f"{word().title()}, {word().title()}",
                        f"{r.randint(1, 99)} {word().title()} St.",
                        word().title(),
                        f"+49 {r.randint(100, 999)} {r.randint(1000, 9999)}",
                        r.choice(["", f'says "{word()}"', f"{word()}; {word()}", "two\nlines"]),
                    ]
                    for _ in many
                ],
            ),
        ),
        (
            "sensors",
            (
                ["at", "sensor", "value", "state"],
                [
                    [
                        f"2024-01-01T{n % 24:02}:{r.randint(0, 59):02}:00Z",
                        f"s-{r.randint(1, 9)}",
                        f"{r.uniform(-20, 40):.3f}",
                        r.choice(["ok", "low", ""]),
                    ]
                    for n in many
                ],
            ),
        ),
        (
            "times",
            (
                ["begin", "end", "who", "hours"],
                [
                    [
                        f"2024-05-{1 + n % 28:02} {r.randint(8, 12):02}:00",
                        f"{r.randint(13, 18):02}:{r.randint(0, 59):02}",
                        word().title(),
                        str(r.randint(1, 8)),
                    ]
                    for n in many
                ],
            ),
        ),
        (
            "words",
            (
                ["code", "title", "kind"],
                [
                    [
                        f"{r.choice('ABC')}{r.choice('XYZ')}{n:02}",
                        f"The {word()} {word()} of {word()}",
                        r.choice(["book", "film", "song"]),
                    ]
                    for n in many
                ],
            ),
        ),
        (
            "wide",
            (
                [f"m{n}" for n in range(12)],
                [[str(r.randint(0, 999)) if r.random() > 0.2 else "" for _ in range(11)] + [word()] for _ in many],
            ),
        ),
        (
            "links",
            (
                ["url", "hits", "mail", "share"],
                [
                    [
                        f"https://{word()}.example.org/{word()}?q={n}",
                        str(r.randint(1, 10**6)),
                        f"{word()}.{word()}@example.org",
                        f"{r.randint(1, 99)}%",
                    ]
                    for n in many
                ],
            ),
        ),
    ]


def _dialect(**changes: object) -> Callable[[Written, random.Random], Written]:
    return lambda w, r: replace(w, **changes)  # type: ignore[arg-type]


def _spaceless(w: Written, r: random.Random) -> Written:
    return replace(w, delimiter=" ", quote_all=any(cell == "" for row in w.rows for cell in row))


def _preamble(w: Written, r: random.Random) -> Written:
    lines = ["Monthly report", "produced by the north office", "", "All figures are preliminary"][: r.randint(1, 4)]
    return replace(w, before=[*lines, *w.before])


def _padded_preamble(w: Written, r: random.Random) -> Written:
    if len(w.header) < 4:
        return _preamble(w, r)
    return replace(w, before=["Monthly report" + w.delimiter * (len(w.header) - 1), *w.before])


def _footer(w: Written, r: random.Random) -> Written:
    return replace(w, after=[*w.after, *["", "Source: the north office"][r.randint(0, 1) :]])


def _header_rows(count: int) -> Callable[[Written, random.Random], Written]:
    def make(w: Written, r: random.Random) -> Written:
        return replace(w, header_rows=tuple([f"({name} {n})" for name in w.header] for n in range(1, count)))

    return make


def _further_table(change: int) -> Callable[[Written, random.Random], Written]:
    def make(w: Written, r: random.Random) -> Written:
        width = max(2, len(w.header) + change)
        if change == 0 and not any(cell.replace(".", "").isdigit() for cell in w.rows[0]):
            width += 1
        names = [f"other {n}" for n in range(width)]
        rows = [[str(r.randint(0, 99)) for _ in names] for _ in range(5)]
        more = [w._line(cells) for cells in (names, *rows)]
        return replace(w, after=[*w.after, "", *more])

    return make


def _damage(how: str) -> Callable[[Written, random.Random], Written]:
    def make(w: Written, r: random.Random) -> Written:
        at = r.randrange(len(w.rows))
        place = r.randrange(max(1, len(w.header) - 1))

        def change(text: str, delimiter: str) -> str:
            cells = text.split(delimiter)
            where = min(place, max(0, len(cells) - 2))
            if how == "missing":
                return (
                    delimiter.join(cells[:where])
                    + delimiter * (where > 0)
                    + "".join(cells[where : where + 2])
                    + "".join(delimiter + c for c in cells[where + 2 :])
                )
            if how == "extra":
                return delimiter.join([*cells[: where + 1], "", *cells[where + 1 :]])
            if how == "other":
                return text.replace(delimiter, "|" if delimiter != "|" else ";")
            if how == "open":
                return delimiter.join([*cells[:where], w.quote + cells[where], *cells[where + 1 :]])
            assert how == "stray"
            return delimiter.join([*cells[:where], cells[where][:2] + w.quote + cells[where][2:], *cells[where + 1 :]])

        return replace(w, damage={**w.damage, at: change})

    return make


KINDS: dict[str, Callable[[Written, random.Random], Written]] = {
    "plain": _dialect(),
    "delimiter ;": _dialect(delimiter=";"),
    "delimiter tab": _dialect(delimiter="\t"),
    "delimiter |": _dialect(delimiter="|"),
    "delimiter :": _dialect(delimiter=":"),
    "delimiter space": _spaceless,
    "delimiter comma space": _dialect(delimiter=", "),
    "delimiter ~": _dialect(delimiter="~"),
    "delimiter ^": _dialect(delimiter="^"),
    "quote '": _dialect(quote="'"),
    "quote all": _dialect(quote_all=True),
    "escape": _dialect(escape="\\"),
    "CR": _dialect(line_end="\r"),
    "CRLF": _dialect(line_end="\r\n"),
    "mixed line ends": _dialect(mixed=True),
    "no final line end": _dialect(final_line_end=0),
    "two final line ends": _dialect(final_line_end=2),
    "byte order mark": _dialect(mark=b"\xef\xbb\xbf"),
    "utf-16": _dialect(encoding="utf-16"),
    "utf-16 unmarked": _dialect(encoding="utf-16-le"),
    "preamble": _preamble,
    "padded preamble": _padded_preamble,
    "footer": _footer,
    "no header": _dialect(has_header=False),
    "header of 2 rows": _header_rows(2),
    "header of 3 rows": _header_rows(3),
    "further narrower table": _further_table(-1),
    "further wider table": _further_table(2),
    "further table as wide": _further_table(0),
    "blank lines": _dialect(blank_after=frozenset({3, 11})),
    "duplicate names": lambda w, r: replace(w, header=[w.header[0], *w.header[:1], *w.header[2:]]),
    "blank name": lambda w, r: replace(w, header=["" if n == 1 else name for n, name in enumerate(w.header)]),
    "one row": lambda w, r: replace(w, rows=w.rows[:1]),
    "two rows": lambda w, r: replace(w, rows=w.rows[:2]),
    "missing delimiter": _damage("missing"),
    "extra delimiter": _damage("extra"),
    "other delimiter in a row": _damage("other"),
    "open quote": _damage("open"),
    "stray quote": _damage("stray"),
}
# A line of these kinds says the same as one of the other, or nothing that a reader could go by.
_SENSELESS = [
    {"utf-16", "byte order mark"},
    {"utf-16 unmarked", "byte order mark"},
    {"one row", "two rows"},
    {"CR", "mixed line ends"},
    {"no header", "header of 2 rows"},
    {"no header", "header of 3 rows"},
    {"no header", "duplicate names"},
    {"no header", "blank name"},
]
_ALONE = {"one row", "two rows", "further narrower table", "further wider table", "further table as wide"}


def variants(seed: int = 0) -> Iterator[tuple[str, Written]]:
    """Every kind on every table, then every sensible pair on three tables; named by their kinds."""
    r = random.Random(seed)
    made = tables(seed)
    for kind, change in KINDS.items():
        for _, (header, rows) in made:
            yield kind, change(Written(header, rows), r)
    families = {name: name.split()[0] for name in KINDS}
    for first, second in combinations(list(KINDS)[1:], 2):
        if families[first] == families[second] or {first, second} in _SENSELESS or {first, second} <= _ALONE:
            continue
        if {first, second} & {"one row", "two rows"}:
            continue
        for _, (header, rows) in r.sample(made, 3):
            yield f"{first} + {second}", KINDS[second](KINDS[first](Written(header, rows), r), r)
