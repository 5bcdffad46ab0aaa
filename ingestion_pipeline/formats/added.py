"""Columns of a file that its contract does not name and is to be given: under which names, and which it cannot have.

What belongs here: names and how many. What does not: other policies for such columns (`columns`), what Druid has by
those names already (`stages.submit`).
"""

from collections.abc import Sequence

from ingestion_pipeline.domain.contract import RESERVED_PREFIX
from ingestion_pipeline.domain.contract_names import ColumnNames, alike
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.base import FormatFacts

# A file whose header is data (dates, ids) would leave its columns in Druid for good.
MAX_COLUMNS, MAX_CHARACTERS = 50, 100
_SHOWN_CHARACTERS, _SHOWN_NAMES = 50, 10
_OTHERWISE = "name it in the contract with a name of its own, or set unknown_columns to rescue"


def added_names(unknown: Sequence[str], names: ColumnNames, facts: FormatFacts) -> list[str]:
    """The names under which unknown columns are added: as they are told (`names_without_contract`), or none at all.

    Args:
        unknown: In the order of the file.
        names: Of the contract that they are added to.
        facts: Are told.

    Raises:
        UnreadableFile: They are too many, or one cannot be the name of a column.
    """
    if len(unknown) > MAX_COLUMNS:
        listed = ", ".join(_short(name) for name in unknown[:_SHOWN_NAMES])
        raise UnreadableFile(
            f"It has {len(unknown):,} columns that the contract does not name, and at most {MAX_COLUMNS} are added: "
            f"{listed} and more.",
            hint="Name those that are wanted in the contract, or set unknown_columns there to rescue or ignore.",
            details={"unknown": len(unknown)},
        )
    taken = {alike(name): f"the contract's column '{name}'" for name in names.taken}
    added: list[str] = []
    for name in unknown:
        if (reason := _refusal(name, taken)) is not None:
            raise UnreadableFile(
                f"The column '{_short(name)}' cannot be added to the contract's: {reason}.",
                hint=f"Rename it in the file, {_OTHERWISE}.",
                details={"unknown": [_short(name)]},
            )
        taken[alike(name)] = f"the column '{name}'"
        added.append(name)
    facts.added = added
    if added:
        facts.warnings.append(f"Columns that the contract does not name were added as text: {', '.join(added)[:300]}.")
    return added


def _refusal(name: str, taken: dict[str, str]) -> str | None:
    """Why Druid cannot have a column of that name; None: it can."""
    if name.startswith(RESERVED_PREFIX):
        return f"names that begin with '{RESERVED_PREFIX}' belong to the system"
    if len(name) > MAX_CHARACTERS:
        return f"its name is longer than {MAX_CHARACTERS} characters"
    if not name.isprintable():
        return "its name has characters that cannot be shown"
    if (other := taken.get(alike(name))) is not None:
        return f"{other} differs in upper and lower case and space at most"
    return None


def _short(name: str) -> str:
    shown = name if len(name) <= _SHOWN_CHARACTERS else name[:_SHOWN_CHARACTERS] + "…"
    return shown.replace("\0", "\ufffd")  # PostgreSQL's JSON has no zero character
