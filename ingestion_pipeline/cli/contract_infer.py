"""Command `contract infer`: a contract drafted from sample files, tried on them at once.

What belongs here: files in, the draft's place, what people are told. What does not: what is inferred (`stages.infer`).
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingestion_pipeline.cli.local_files import PARTLY, format_line
from ingestion_pipeline.cli.output import AsJson, console, counted, escaped, json_text
from ingestion_pipeline.errors import ConfigurationError, FileError

if TYPE_CHECKING:
    from rich.console import Console

    from ingestion_pipeline.domain.contract import Contract
    from ingestion_pipeline.stages.infer import Draft, Sample

SCHEMA_FILE = "contract.schema.json"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,79}")


def infer(
    files: Annotated[
        list[Path], typer.Argument(metavar="SAMPLE...", help="Files of one datasource.", show_default=False)
    ],
    *,
    datasource: Annotated[
        str | None, typer.Option("--datasource", "-d", help="Its name; default: by the output's or the file's name.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", metavar="FILE", help="A new file, or a directory for NAME.yaml; default: standard output."
        ),
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=1, help="Of each file, look at about so many rows.")] = 1_000_000,
    as_json: AsJson = False,
) -> None:
    """Draft a contract from sample files. No server is needed, nothing is loaded.

    The draft says what a person has to look at. Exit code 0: it takes every row of the samples; 4: it does not, or no
    column is the time of a row; 1: a file cannot be read.
    """
    from ingestion_pipeline.cli.sample_files import sample_of
    from ingestion_pipeline.stages.infer import infer as draft_of
    from ingestion_pipeline.stages.validate.casting import cast_cells

    name, target = _target(files, datasource, output)
    page = console(stderr=True)
    samples = [sample_of(file, rows=rows) for file in files]
    with page.status(f"Reading {counted(len(samples), 'sample')} …"):
        draft = draft_of(samples, datasource=name, cast=cast_cells)
        tried = _tried(draft, samples)
    text = draft.text
    if target is not None:
        if (target.parent / SCHEMA_FILE).is_file():
            text = f"# yaml-language-server: $schema={SCHEMA_FILE}\n{text}"
        try:
            target.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{target} cannot be written: {error.strerror}.") from error
    if as_json:
        typer.echo(json_text(_described(draft, text, target, tried)))
    elif target is None:
        typer.echo(text, nl=False)
    _tell(page, draft, target, tried)
    if draft.time_column is None or any(entry["rows_rejected"] for entry in tried):
        raise typer.Exit(PARTLY)


def _target(files: Sequence[Path], datasource: str | None, output: Path | None) -> tuple[str, Path | None]:
    """The datasource's name, and the file that is to be written: a contract is called like its datasource."""
    from ingestion_pipeline.stages.infer import datasource_name

    name = datasource
    if output is not None and not output.is_dir():
        name = name or output.stem
        if output.stem != name:
            raise ConfigurationError(
                f"A contract of '{name}' is not named {output.name}.", hint=f"Write it to {output.with_stem(name)}."
            )
    # Only what the user gave can be no name: the other is made to be one.
    name = name or datasource_name(files[0].stem)
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"'{name}' is no name of a datasource.",
            hint=f"Small letters, digits and underscores, as in --datasource {datasource_name(name)}.",
        )
    target = output / f"{name}.yaml" if output is not None and output.is_dir() else output
    if target is not None and target.exists():
        raise ConfigurationError(
            f"{target} exists already.", hint="Give another --output, or remove it if nobody has written into it."
        )
    return name, target


def _tried(draft: "Draft", samples: Sequence["Sample"]) -> list[dict[str, Any]]:
    """What was looked at of each sample, and how many of its rows the draft would reject."""
    contract = _contract_of(draft) if draft.time_column is not None else None
    found = []
    for sample, seen in zip(samples, draft.seen, strict=True):
        entry: dict[str, Any] = {
            "file": sample.name,
            "format": seen.facts.as_dict() if seen.facts is not None else None,
            "rows": seen.rows,
            "part": sample.part if seen.whole else None,
            "rows_rejected": seen.malformed,
            "first_error": None,
        }
        if contract is not None and seen.whole:
            entry |= _judged(sample, contract)
        found.append(entry)
    return found


def _contract_of(draft: "Draft") -> "Contract":
    import yaml

    from ingestion_pipeline.domain.contract import Contract
    from ingestion_pipeline.domain.contract_document import read_document

    contract = read_document(yaml.safe_load(draft.text), version="draft")
    assert isinstance(contract, Contract), contract
    return contract


def _judged(sample: "Sample", contract: "Contract") -> dict[str, Any]:
    from ingestion_pipeline.cli.dry_run import DryRun
    from ingestion_pipeline.stages.validate import validate

    sink = DryRun()
    try:
        report = validate(sample.open(), contract=contract, name=sample.name, sink=sink)
    except FileError as error:
        return {"rows_rejected": None, "first_error": error.message}
    first = sink.rejected_rows[0] if sink.rejected_rows else None
    told = f"line {first['line']:,}: {first['reason']}" if first is not None else None
    return {"rows_rejected": report.rows_rejected, "first_error": told}


def _described(draft: "Draft", text: str, target: Path | None, tried: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "datasource": draft.datasource,
        "output": str(target) if target is not None else None,
        "contract": text,
        "time_column": draft.time_column,
        "look_at": draft.remarks,
        "samples": tried,
    }


def _tell(page: "Console", draft: "Draft", target: Path | None, tried: Sequence[dict[str, Any]]) -> None:
    for entry in tried:
        page.print(_line(entry), soft_wrap=True)
    for remark in draft.remarks:
        page.print(f"[yellow]look at[/]  {escaped(remark)}", soft_wrap=True)
    if draft.time_column is None:
        page.print(
            "[red]No column is the time of a row[/], and Druid needs one: name it under time, with the type date or "
            "datetime and the format that its cells have.",
            soft_wrap=True,
        )
    if target is not None:
        path = escaped(str(target))
        page.print(f"Next: read {path}, then ingestion-pipeline contract check {path}", soft_wrap=True)


def _line(entry: dict[str, Any]) -> str:
    part = entry["part"]
    if part is None:
        looked_at = "its beginning"
    elif part < 1:
        looked_at = f"from all over it, {max(1, round(part * 100))} %"
    else:
        looked_at = "the whole file"
    dialect = f" ({format_line(entry['format'])})" if entry["format"] else ""
    rejected = entry["rows_rejected"]
    verdict = "" if rejected == 0 else f"; {'all' if rejected is None else f'{rejected:,}'} would be rejected"
    first = f", first: {escaped(entry['first_error'])}" if entry["first_error"] else ""
    style = "yellow" if verdict else "green"
    rows = counted(entry["rows"], "row")
    return f"[{style}]looked at[/]  {escaped(entry['file'])}: {rows}, {looked_at}{dialect}{verdict}{first}"
