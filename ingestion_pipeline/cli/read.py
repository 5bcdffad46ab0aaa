"""Command `read`: what is understood of a file, without loading it.

What belongs here: files and directories, the report's place, exit codes. What does not: reading (`formats`) and the
canonical forms (`stages.canonical`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingestion_pipeline.cli.output import console, counted, escaped, json_text
from ingestion_pipeline.errors import ConfigurationError, FileError, IngestionError

if TYPE_CHECKING:
    from ingestion_pipeline.stages.canonical import Form

app = typer.Typer()

PARTLY = 4
_PIECE_BYTES = 1024 * 1024
_SUFFIXES: dict[str, "Form"] = {
    ".csv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
}


@app.command()
def read(
    files: Annotated[list[Path], typer.Argument(help="What is to be read.", show_default=False)],
    to: Annotated[
        Path,
        typer.Option(
            "--to", metavar="OUT", help="A new file (.csv, .ndjson, .parquet), or a directory for several files."
        ),
    ],
    report: Annotated[
        Path | None, typer.Option("--report", metavar="R.json", help="What was found, as JSON; '-': standard output.")
    ] = None,
    header: Annotated[
        bool, typer.Option("--header", help="Give generated names to the columns of a file that has no header.")
    ] = False,
) -> None:
    """Write what is understood of files as clean text, without loading anything.

    Every cell is text as the file has it. Exit code 0: all was read; 4: some records are no rows and were left out (see
    the report); 1: a file cannot be read, and there is no output for it.
    """
    targets = _targets(files, to)
    for source, target in zip(files, targets, strict=True):
        if target.exists() and source.exists() and target.samefile(source):
            raise ConfigurationError(
                f"{source} would be written over itself.", hint="Name another file, or another directory."
            )
    page = console(stderr=True)
    found = []
    for source, target in zip(files, targets, strict=True):
        entry = _read_one(source, target, header=header)
        found.append(entry)
        page.print(_line(entry), soft_wrap=True)
    if report is not None:
        text = json_text(found[0] if len(files) == 1 and not to.is_dir() else found)
        if str(report) == "-":
            typer.echo(text)
        else:
            report.write_text(text + "\n", encoding="utf-8")
    outcomes = {entry["outcome"] for entry in found}
    if "rejected" in outcomes:
        raise typer.Exit(1)
    if "partly read" in outcomes:
        raise typer.Exit(PARTLY)


def _targets(files: Sequence[Path], to: Path) -> list[Path]:
    if not to.is_dir():
        if len(files) > 1:
            raise ConfigurationError(f"{to} is no directory.", hint="Name an existing directory for several files.")
        _form(to)
        return [to]
    targets = [to / f"{source.stem}.csv" for source in files]
    seen: dict[Path, Path] = {}
    for source, target in zip(files, targets, strict=True):
        if (other := seen.setdefault(target, source)) is not source:
            raise ConfigurationError(
                f"{source} and {other} would both become {target}.",
                hint="Read them in two calls, into two directories.",
            )
    return targets


def _form(target: Path) -> "Form":
    form = _SUFFIXES.get(target.suffix.lower())
    if form is None:
        raise ConfigurationError(
            f"{target} does not say in what form it is to be written.",
            hint=f"Its suffix may be {', '.join(_SUFFIXES)}.",
        )
    return form


def _read_one(source: Path, target: Path, *, header: bool) -> dict[str, Any]:
    from ingestion_pipeline.stages.canonical import read_as_text

    entry: dict[str, Any] = {"file": str(source), "outcome": "rejected", "output": None}
    partial = target.with_name(f".{target.name}.part")
    try:
        with partial.open("wb") as out:
            report = read_as_text(_pieces(source), form=_form(target), out=out, header=header)
        partial.replace(target)
    except (IngestionError, OSError) as error:
        partial.unlink(missing_ok=True)
        told = error if isinstance(error, IngestionError) else FileError(f"{error.strerror}: {error.filename}")
        return entry | {"error": {"code": told.code, "message": told.message, "hint": told.hint}}
    outcome = "partly read" if report.rows_rejected else "read"
    return entry | {"outcome": outcome, "output": str(target)} | asdict(report)


def _pieces(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _line(entry: dict[str, Any]) -> str:
    name = escaped(str(Path(entry["file"]).name))
    if entry["outcome"] == "rejected":
        return (
            f"[red]rejected[/]     {name}: {escaped(entry['error']['message'])} {escaped(entry['error']['hint'] or '')}"
        )
    told = entry["format"]
    dialect = f", delimiter {told['delimiter']!r}" if told["delimiter"] else ""
    rejected = f", {counted(entry['rows_rejected'], 'record')} left out" if entry["rows_rejected"] else ""
    style = "yellow" if rejected else "green"
    return (
        f"[{style}]{entry['outcome']:11}[/]  {name}: {counted(entry['rows_accepted'], 'row')} of "
        f"{counted(len(entry['columns']), 'column')}{rejected} ({escaped(told['format'])}, {told['encoding']}"
        f"{escaped(dialect)})"
    )
