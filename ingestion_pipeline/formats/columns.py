"""Names of a file's columns: the contract's for those that it names, told ones where there is no contract.

What belongs here: headers to names, and what a header may lack. What does not: finding the header (`layout`).
"""

from collections import Counter
from collections.abc import Sequence

from ingestion_pipeline.domain.contract import Column
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.base import FormatFacts

UNUSED = "\0"  # marks columns of the file that the contract does not name
# A header goes into reports and errors whole, unless it is longer than this many names of this many characters.
_SHOWN_NAMES, _SHOWN_CHARACTERS = 200, 200


def names_without_contract(header: Sequence[str], width: int) -> list[str]:
    """As the header has them: `column_3` where there is no name, `name_2` for the second `name`."""
    names: list[str] = []
    taken: set[str] = set()
    for position in range(width):
        given = header[position] if position < len(header) else ""
        name = base = given or f"column_{position + 1}"
        number = 2
        while name in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name)
        names.append(name)
    return names


def text_columns(sources: Sequence[str]) -> list[Column]:
    """Columns of text for names of a file's own: they need not be there, and may be empty."""
    names = names_without_contract(sources, len(sources))
    return [
        Column(name=name, type="string", source=source, required=False, nullable=True)
        for name, source in zip(names, sources, strict=True)
    ]


def fitted(header: Sequence[str], width: int) -> list[str]:
    """A header as wide as the rows below it: an empty name goes first from one that is too wide."""
    names = list(header)
    while len(names) > width:
        names.pop(names.index("") if "" in names else -1)
    return names + [""] * (width - len(names))


def names_by_contract(header: Sequence[str], columns: Sequence[Column], facts: FormatFacts) -> list[str]:
    """The contract's name for each column of the file; those that it does not name are marked unused.

    Raises:
        UnreadableFile: A required column is missing, or one that the contract reads stands there twice.
    """
    by_source = {column.source: column.name for column in columns}
    counts = Counter(header)
    twice = sorted(name for name in by_source if counts[name] > 1)
    if twice:
        raise UnreadableFile(
            f"The header has the column '{twice[0]}' more than once.",
            hint="Rename one of them.",
            details={"header": shown(header), "columns": len(header), "repeated": twice},
        )
    missing = [column.source for column in columns if column.required and column.source not in counts]
    if missing:
        listed = ", ".join(f"'{name}'" for name in missing)
        no_header = not any(name in by_source for name in header)
        hint = "If the file has no header, set format.header to false." if no_header else "Add them."
        listing = ", ".join(header)[:300]
        raise UnreadableFile(
            f"The header lacks the required column{'s' if len(missing) > 1 else ''} {listed}; it has {listing}.",
            hint=hint,
            details={"header": shown(header), "columns": len(header), "missing": missing},
        )
    unknown = [name for name in header if name not in by_source]
    if unknown:
        facts.warnings.append(f"Columns that the contract does not name were left out: {', '.join(unknown)[:300]}.")
    return [by_source.get(name, f"{UNUSED}{position}") for position, name in enumerate(header)]


def shown(header: Sequence[str]) -> list[str]:
    """The header, if it is not too long for a report; else the beginnings of its first names."""
    if sum(map(len, header)) <= _SHOWN_NAMES * _SHOWN_CHARACTERS:
        return list(header)
    return [name[:_SHOWN_CHARACTERS] for name in header[:_SHOWN_NAMES]]
