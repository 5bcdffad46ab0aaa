"""Names of a file's columns: the contract's for those that it names, told ones where there is no contract.

What belongs here: headers to names, and what a header may lack. What does not: finding the header (`layout`).
"""

from collections.abc import Collection, Sequence

from ingestion_pipeline.domain.contract import Column, text_column
from ingestion_pipeline.domain.contract_names import AmbiguousNames, ColumnNames
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.added import added_names
from ingestion_pipeline.formats.base import FormatFacts

UNUSED = "\0"  # marks columns of the file that the contract does not name
# A header goes into reports and errors whole, unless it is longer than this many names of this many characters.
_SHOWN_NAMES, _SHOWN_CHARACTERS = 200, 200
_LISTED_CHARACTERS, _WARNED_CHARACTERS = 2000, 300


def names_without_contract(header: Sequence[str], width: int) -> list[str]:
    """As the header has them: `column_3` where there is no name, `name_2` for the second `name`."""
    names: list[str] = []
    taken: set[str] = set()
    numbers: dict[str, int] = {}  # the next to try, so that thousands of one name do not try each other's
    for position in range(width):
        given = header[position] if position < len(header) else ""
        name = base = given or f"column_{position + 1}"
        while name in taken:
            numbers[base] = number = numbers.get(base, 1) + 1
            name = f"{base}_{number}"
        taken.add(name)
        names.append(name)
    return names


def text_columns(sources: Sequence[str]) -> list[Column]:
    """Columns of text for names of a file's own: they need not be there, and may be empty."""
    names = names_without_contract(sources, len(sources))
    return [text_column(name, source) for name, source in zip(names, sources, strict=True)]


def fitted(header: Sequence[str], width: int) -> list[str]:
    """A header as wide as the rows below it: an empty name goes first from one that is too wide."""
    names = list(header)
    while len(names) > width:
        names.pop(names.index("") if "" in names else -1)
    return names + [""] * (width - len(names))


def names_by_contract(header: Sequence[str], names: ColumnNames, facts: FormatFacts) -> list[str]:
    """The contract's name for each column of the file; those that it does not name are marked unused.

    Raises:
        UnreadableFile: A required column is missing, or one that the contract reads stands there twice.
    """
    matched = matched_names(header, names, facts)
    missing = [column.source for n, column in enumerate(names.columns) if column.required and n not in matched]
    if missing:
        listed = ", ".join(f"'{name}'" for name in missing)
        hint = "Add them." if matched else "If the file has no header, set format.header to false."
        listing = ", ".join(header)[:300]
        raise UnreadableFile(
            f"The header lacks the required column{'s' if len(missing) > 1 else ''} {listed}; it has {listing}.",
            hint=hint,
            details={"header": shown(header), "columns": len(header), "missing": missing},
        )
    own_names = {name: names.columns[position].name for position, name in matched.items()}
    unknown = [position for position, name in enumerate(header) if name not in own_names]
    added: dict[int, str] = {}
    if names.unknown == "add":
        added = _added(header, unknown, names, facts)
    else:
        judge_unknown([header[position] for position in unknown], names, facts)
    tell_missing(set(matched), names, facts)
    return [own_names.get(name) or added.get(n) or f"{UNUSED}{n}" for n, name in enumerate(header)]


def with_added(
    header: Sequence[str], names: ColumnNames, facts: FormatFacts, *, leave_out: Collection[str] = ()
) -> ColumnNames:
    """Names that also have a file's columns which the contract does not name, if it says that they are added.

    Args:
        header: All names of the file, each once.
        leave_out: Names of columns that cannot be added.

    Raises:
        UnreadableFile: They are too many, or one cannot be the name of a column.
    """
    if names.unknown != "add":
        return names
    kept = names.roots | set(leave_out)
    unknown = [n for n, name in enumerate(header) if names.fits(name) is None and name not in kept]
    added = _added(header, unknown, names, facts)
    return names.with_columns([text_column(name, header[position]) for position, name in added.items()])


def _added(header: Sequence[str], unknown: Sequence[int], names: ColumnNames, facts: FormatFacts) -> dict[int, str]:
    """The name under which each unknown column (by position) is added."""
    labels = names_without_contract([" ".join(name.split()) for name in header], len(header))
    return dict(zip(unknown, added_names([labels[position] for position in unknown], names, facts), strict=True))


def matched_names(header: Sequence[str], names: ColumnNames, facts: FormatFacts) -> dict[int, str]:
    """The file's name of each contract column (by position) that it has.

    Raises:
        UnreadableFile: Several columns of the file fit one of the contract.
    """
    try:
        matched = names.matched(header)
    except AmbiguousNames as error:
        one = len(set(error.names)) == 1
        raise UnreadableFile(
            f"The header has the column '{error.names[0]}' more than once."
            if one
            else f"The file's columns {error}, and only one can be read.",
            hint="Rename one of them." if one else f"Rename one, or name one alone in columns.{error.column.name}.",
            details={"header": shown(header), "columns": len(header), "repeated": sorted(set(error.names))},
        ) from error
    if warning := names.warning(matched):
        facts.warnings.append(warning)
    return matched


def judge_unknown(
    unknown: Sequence[str], names: ColumnNames, facts: FormatFacts, *, what: str = "Columns", more: bool = False
) -> None:
    """Tell of columns that the contract does not name.

    Args:
        more: There are others.

    Raises:
        UnreadableFile: It says that a file must have none.
    """
    if not unknown:
        return
    listed = ", ".join(name or "(without a name)" for name in unknown)
    if names.unknown == "fail":
        raise UnreadableFile(
            f"{what} that the contract does not name: {_cut(listed, _LISTED_CHARACTERS, more)}.",
            hint="Leave them out, name them in the contract, or set unknown_columns there to ignore, rescue or add.",
            details={"unknown": shown(unknown)},
        )
    became = "were left out" if names.rescued is None else f"were kept as JSON in {names.rescued}"
    facts.warnings.append(f"{what} that the contract does not name {became}: {_cut(listed, _WARNED_CHARACTERS, more)}.")


def tell_missing(found: Collection[int], names: ColumnNames, facts: FormatFacts) -> None:
    """Tell of columns that the file need not have, and has not."""
    missing = [column.name for position, column in enumerate(names.columns) if position not in found]
    if missing:
        listed = _cut(", ".join(missing), _WARNED_CHARACTERS, False)
        facts.warnings.append(f"Columns that the file does not have are null: {listed}.")


def _cut(listed: str, characters: int, more: bool) -> str:
    return listed[:characters] + (" and more" if more or len(listed) > characters else "")


def shown(header: Sequence[str]) -> list[str]:
    """The header, if it is not too long for a report; else the beginnings of its first names."""
    if sum(map(len, header)) <= _SHOWN_NAMES * _SHOWN_CHARACTERS:
        return list(header)
    return [name[:_SHOWN_CHARACTERS] for name in header[:_SHOWN_NAMES]]
