"""Files of this machine for `read` and `validate`, and the contract by which they are read.

What belongs here: opening files, naming contracts, one line of what was understood. What does not: reading (`stages`).
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from ingestion_pipeline.cli.output import console, escaped
from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.errors import ConfigurationError, FileError, IngestionError

PARTLY = 4
"""Exit code: some rows were rejected."""
_EXIT_CODES = {"rejected": 1, "partly read": PARTLY}

_PIECE_BYTES = 1024 * 1024


def named_contract(named: str) -> Contract:
    """A contract by its file, or by its datasource in the directory of the settings.

    Raises:
        ContractError: It is broken.
        ConfigurationError: There is none of that name.
    """
    from ingestion_pipeline.adapters.contracts import SUFFIXES, load_contract, load_contracts
    from ingestion_pipeline.settings import load_settings

    path = Path(named)
    if path.suffix in SUFFIXES or path.is_file():
        return load_contract(path)
    book = load_contracts(load_settings().contracts_dir)
    if (error := book.broken_datasources.get(named)) is not None:
        raise error
    if named not in book.contracts:
        raise ConfigurationError(
            f"There is no contract '{named}'.",
            hint=f"Give a YAML file or one of: {', '.join(book.contracts) or 'none is in the directory'}.",
        )
    return book.contracts[named]


def end_with(outcomes: Collection[str]) -> None:
    """End the command with the exit code of the worst of its files' outcomes; go on if all were read."""
    for outcome, code in _EXIT_CODES.items():
        if outcome in outcomes:
            raise typer.Exit(code)


def pieces(source: Path) -> Iterator[bytes]:
    """The bytes of a file; on a terminal a bar shows how many of them were read."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    page = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=page, transient=True, disable=not page.is_terminal) as progress,
        progress.open(source, "rb", description=escaped(source.name)) as file,
    ):
        while piece := file.read(_PIECE_BYTES):
            yield piece


def told(error: IngestionError | OSError) -> dict[str, Any]:
    """An error of one file, as the reports have it."""
    ours = error if isinstance(error, IngestionError) else FileError(f"{error.strerror}: {error.filename}")
    return {"code": ours.code, "message": ours.message, "hint": ours.hint}


def format_line(found: Mapping[str, Any]) -> str:
    """What a file is, for people; with markup."""
    dialect = f", delimiter {found['delimiter']!r}" if found["delimiter"] else ""
    encoding = f", {found['encoding']}" if found["encoding"] else ""
    return f"{escaped(found['format'])}{encoding}{escaped(dialect)}"
