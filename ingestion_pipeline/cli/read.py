"""Command `read`: what is understood of a file, without loading it.

What belongs here: files and directories, the report's place, exit codes. What does not: reading (`formats`) and the
canonical forms (`stages.canonical`).
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from ingestion_pipeline.cli.local_files import end_with, format_line, named_contract, pieces, told
from ingestion_pipeline.cli.output import console, counted, escaped, json_text
from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.errors import ConfigurationError, IngestionError

if TYPE_CHECKING:
    from ingestion_pipeline.stages.canonical import Form

app = typer.Typer()

_SUFFIXES: dict[str, "Form"] = {
    ".csv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
}


@app.command()
def read(
    files: Annotated[list[Path], typer.Argument(help="What is to be read.", show_default=False)],
    *,
    to: Annotated[
        Path,
        typer.Option(
            "--to", metavar="OUT", help="A new file (.csv, .ndjson, .parquet), or a directory for several files."
        ),
    ],
    report: Annotated[
        Path | None, typer.Option("--report", metavar="R.json", help="What was found, as JSON; '-': standard output.")
    ] = None,
    contract: Annotated[
        str | None,
        typer.Option(
            "--contract", metavar="C", help="A contract's YAML file, or a datasource: check every row, write the good."
        ),
    ] = None,
    table: Annotated[
        int, typer.Option("--table", min=1, metavar="N", help="Which of several tables; a contract says it by itself.")
    ] = 1,
    header: Annotated[
        bool, typer.Option("--header", help="Give generated names to the columns of a file that has no header.")
    ] = False,
) -> None:
    """Write what is understood of files as clean text, without loading anything.

    Every cell is text as the file has it; with a contract, its columns in its types. Exit code 0: all was read; 4: some
    records are no rows, or break a rule of the contract, and were left out (see the report); 1: a file cannot be read,
    and there is no output for it.
    """
    by_contract = named_contract(contract) if contract is not None else None
    targets = _targets(files, to)
    for source, target in zip(files, targets, strict=True):
        if target.exists() and source.exists() and target.samefile(source):
            raise ConfigurationError(
                f"{source} would be written over itself.", hint="Name another file, or another directory."
            )
    page = console(stderr=True)
    found = []
    for source, target in zip(files, targets, strict=True):
        entry = _read_one(source, target, contract=by_contract, table=table, header=header)
        found.append(entry)
        page.print(_line(entry), soft_wrap=True)
    if report is not None:
        text = json_text(found[0] if len(files) == 1 and not to.is_dir() else found)
        if str(report) == "-":
            typer.echo(text)
        else:
            report.write_text(text + "\n", encoding="utf-8")
    end_with({entry["outcome"] for entry in found})


def _targets(files: Sequence[Path], to: Path) -> list[Path]:
    if len(files) > 1 and not to.suffix and not to.exists():
        to.mkdir(parents=True)
    if not to.is_dir():
        if len(files) > 1:
            raise ConfigurationError(f"{to} is no directory.", hint="Name a directory for several files.")
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


def _read_one(source: Path, target: Path, *, contract: Contract | None, table: int, header: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"file": str(source), "outcome": "rejected", "output": None}
    partial = target.with_name(f".{target.name}.part")
    try:
        with partial.open("wb") as out:
            if contract is None:
                entry |= _as_text(source, _form(target), out, table=table, header=header)
            else:
                entry |= _by_contract(source, _form(target), out, contract)
        if entry["outcome"] != "rejected":
            partial.replace(target)
            entry["output"] = str(target)
    except (IngestionError, OSError) as error:
        entry["error"] = told(error)
    finally:
        partial.unlink(missing_ok=True)
    return entry


def _as_text(source: Path, form: "Form", out: BinaryIO, *, table: int, header: bool) -> dict[str, Any]:
    from ingestion_pipeline.stages.canonical import read_as_text

    report = asdict(read_as_text(pieces(source), form=form, out=out, table=table, header=header))
    return report | {"outcome": "partly read" if report["rows_rejected"] else "read"}


def _by_contract(source: Path, form: "Form", out: BinaryIO, contract: Contract) -> dict[str, Any]:
    from ingestion_pipeline.cli.dry_run import DryRun, judge, typed_frame_without_rows
    from ingestion_pipeline.stages.canonical import table_writer

    with table_writer(form, out, header=True) as write:
        found = judge(source, contract, DryRun(write, typed=form == "parquet"))
        if found["outcome"] != "rejected" and not found["rows_accepted"]:
            write(typed_frame_without_rows(contract))
    return found


def _line(entry: dict[str, Any]) -> str:
    name = escaped(str(Path(entry["file"]).name))
    if entry["outcome"] == "rejected":
        return (
            f"[red]rejected[/]     {name}: {escaped(entry['error']['message'])} {escaped(entry['error']['hint'] or '')}"
        )
    rejected = f", {counted(entry['rows_rejected'], 'record')} left out" if entry["rows_rejected"] else ""
    style = "yellow" if rejected else "green"
    return (
        f"[{style}]{entry['outcome']:11}[/]  {name}: {counted(entry['rows_accepted'], 'row')} of "
        f"{counted(len(entry['columns']), 'column')}{rejected} ({format_line(entry['format'])})"
    )
