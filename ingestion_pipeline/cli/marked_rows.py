"""A rejected row as a compiler shows a mistake: its text, and below it a mark under the cell that is wrong.

What belongs here: finding the cell in the text, and the part of a long text around it. What does not: judging rows.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.domain.contract_names import ColumnNames
from ingestion_pipeline.formats.records import Dialect, cell_spans

# One column each, so that a mark stands where it should.
_SHOWN = str.maketrans(
    {**{n: chr(0x2400 + n) for n in range(32)}, 127: "\u2421", 9: "\u21e5", 10: "\u23ce", 0x200B: " ", 0xFEFF: " "}
)
_BEFORE = 30  # characters of a long text before the marked cell


class RowMarks:
    """Finds cells of the contract's columns in the texts of a file's rows.

    Args:
        found: What the file is, as the report has it.
    """

    def __init__(self, contract: Contract, found: Mapping[str, Any]) -> None:
        names = ColumnNames.of(contract)
        self._sources = names.sources(None)
        self._positions: dict[str, int] = {}
        self._dialect: Dialect | None = None
        if found.get("delimiter"):
            self._dialect = Dialect(found["delimiter"], found["quote"], found["escape"])
            header: Sequence[str] = found["header"] or list(self._sources.values())
            self._positions = {name: position for position, name in enumerate(header)}
            self._sources = names.sources(header if found["header_is_whole"] else None)

    def span(self, text: str, columns: str) -> tuple[int, int] | None:
        """Where the first of some columns (`a, b`) stands in a row; None: it cannot be told."""
        source = self._sources.get(columns.partition(", ")[0])
        if source is None:
            return None
        if self._dialect is None:
            member = re.search(re.escape(json.dumps(source.rpartition(".")[2], ensure_ascii=False)) + r"\s*:", text)
            return (member.start(), member.end()) if member else None
        position = self._positions.get(source)
        spans = cell_spans(text, self._dialect)
        return spans[position] if position is not None and position < len(spans) else None


def marked(text: str, span: tuple[int, int] | None, width: int) -> tuple[str, str]:
    """A row's text on one line of at most `width` columns, and the line below it with the mark.

    Args:
        span: What is to be marked; it is inside the part that is shown.
    """
    from rich.cells import cell_len, set_cell_size

    shown = text.translate(_SHOWN)
    start, end = span or (0, 0)
    cut = 0
    if cell_len(shown) > width and start > _BEFORE:
        cut = start - _BEFORE
    line = ("…" if cut else "") + shown[cut:]
    if cell_len(line) > width:
        line = set_cell_size(line, width - 1).rstrip() + "…"
    if span is None:
        return line, ""
    before = cell_len(("…" if cut else "") + shown[cut:start])
    length = max(1, min(cell_len(shown[start:end]), width - before))
    return line, " " * before + "^" * length
