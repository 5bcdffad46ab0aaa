"""Command `rejected`: the rejected rows of a file, to look at or to correct.

What belongs here: fetching what the run kept, and the file that a person or a program gets. What does not: rejecting
rows (`stages.validate`), what is in these files (`stages.quarantine`), sending rows again (`cli.corrections`).
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

import typer

from ingestion_pipeline.cli.connections import Connections, connected
from ingestion_pipeline.cli.family import open_rows
from ingestion_pipeline.cli.jobs import find_job, what_next
from ingestion_pipeline.cli.output import console, counted, json_text
from ingestion_pipeline.domain.contract_names import ColumnNames
from ingestion_pipeline.domain.correction import fixes, keeper
from ingestion_pipeline.domain.job import Job
from ingestion_pipeline.domain.orders import short
from ingestion_pipeline.domain.quarantine import Quarantine
from ingestion_pipeline.errors import ConfigurationError, FileError, ObjectMissing

if TYPE_CHECKING:
    import polars as pl

app = typer.Typer()

Form = Literal["csv", "parquet", "xlsx", "lines"]
_SUFFIXES: Mapping[str, Form] = {".csv": "csv", ".parquet": "parquet", ".xlsx": "xlsx"}


@app.command()
def rejected(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Its id, the beginning of it, its key or file name.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A new file: .csv, .xlsx (to look at) or .parquet (for programs); default: CSV to standard output.",
            show_default=False,
        ),
    ] = None,
    fixable: Annotated[
        bool, typer.Option("--fixable", help="The original lines with the header, each once, to correct and resubmit.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="For machines: where the rows are, counts per rule, what was written.")
    ] = False,
) -> None:
    """Get the rejected rows of a file: line, column, rule, value, reason, original text."""
    form = _form(output, fixable=fixable, as_json=as_json)
    with connected() as systems:
        found = find_job(systems, job)
        kept = _quarantine(found)
        if output is not None and output.exists():
            raise FileError(f"{output} exists already.", hint="Name another file: this one may hold corrections.")
        family = systems.ledger.corrections.family(found["job_id"])
        next_step = what_next(systems, found["job_id"], family)
        written = None
        if output is not None or not as_json:
            written = _write(_Source(systems, found, kept), form, output, [next_step])
        if as_json:
            told = _facts(systems, found, kept) | {"rows_open": open_rows(family), "next_step": next_step}
            typer.echo(json_text(told | {"output": output, "rows_written": written}))
        else:
            _say(found, kept, family, form=form, output=output, written=written, next_step=next_step)


def _form(output: Path | None, *, fixable: bool, as_json: bool) -> Form:
    form: Form | None = "csv" if output is None else _SUFFIXES.get(output.suffix.lower())
    if fixable:
        if form in ("xlsx", "parquet"):
            raise ConfigurationError(
                f"--fixable writes lines of text, and {output} is to be something else.",
                hint="Leave --fixable out to look at the rows, or name a file like the original.",
            )
        if as_json and output is None:
            raise ConfigurationError(
                "Lines to correct and --json cannot both go to standard output.", hint="Name a file: --output FILE."
            )
        return "lines"
    if form is None:
        raise ConfigurationError(
            f"{output} does not say in what form it is to be written.",
            hint=f"Its suffix may be {', '.join(_SUFFIXES)}; --fixable writes the lines as the file had them.",
        )
    return form


def _quarantine(job: Mapping[str, Any]) -> Quarantine:
    if not job["rows_rejected"] or not job["quarantine_url"]:
        raise FileError(
            f"Job {short(job['job_id'])} has no rejected rows ({job['status']}{'/' if job['outcome'] else ''}"
            f"{job['outcome'] or ''}).",
            hint=f"`ingestion-pipeline status {short(job['job_id'])}` tells what became of it.",
        )
    kept = job["result"].get("quarantine")
    if not kept:
        raise FileError(
            f"An earlier version kept the rejected rows of job {short(job['job_id'])}: {job['quarantine_url']}.",
            hint=f"`ingestion-pipeline replay {short(job['job_id'])}` reads the file again.",
        )
    return Quarantine.from_dict(kept)


class _Source:
    """What the run kept of one job, and what is known about its file."""

    def __init__(self, systems: Connections, job: Mapping[str, Any], kept: Quarantine) -> None:
        self.systems, self.job, self.kept = systems, job, kept

    def csv(self) -> Iterator[bytes]:
        return self.systems.bucket.read(self.kept.csv_url.removeprefix(self.systems.bucket.url("")))

    def entries(self) -> Iterator["pl.DataFrame"]:
        """Exact, object by object."""
        import polars as pl

        for key in self.kept.parquet_keys:
            yield pl.read_parquet(BytesIO(self.systems.bucket.get(key)))

    def lines(self) -> Iterator[bytes]:
        from ingestion_pipeline.cli.send import require_usable
        from ingestion_pipeline.stages.quarantine.originals import original_lines

        require_usable(self.job["datasource"], self.systems)
        options = self.systems.contracts.contracts[self.job["datasource"]].format
        return original_lines(self.entries(), self.job["result"]["format"], options)


def _write(source: _Source, form: Form, output: Path | None, notes: Sequence[str]) -> int:
    """Everything or nothing: a part of a file would be taken for the whole. How many rows were written."""
    rows = int(source.job["rows_rejected"])
    with _missing_told(source), _target(output) as target:
        if form == "xlsx":
            rows = _write_workbook(source, target, notes)
        elif form == "parquet":
            _write_parquet(source, target)
        else:
            for piece in source.csv() if form == "csv" else source.lines():
                target.write(piece)
    return rows


def _write_workbook(source: _Source, target: BinaryIO, notes: Sequence[str]) -> int:
    from ingestion_pipeline.stages.quarantine.cutting import Columns, rows_of
    from ingestion_pipeline.stages.quarantine.workbook import write_workbook

    job = source.job
    # Without its contract, columns are marked where both call them alike.
    contract = source.systems.contracts.contracts.get(job["datasource"])
    found = job["result"]["format"]
    header = found["header"] if found.get("header_is_whole", True) else None
    sources = ColumnNames.of(contract).sources(header) if contract else {}
    with console(stderr=True).status("Writing the workbook …"):
        return write_workbook(
            target,
            rows_of(source.entries()),
            columns=Columns(found, sources),
            rule_counts=job["result"]["rule_counts"],
            rows_rejected=job["rows_rejected"],
            notes=[f"File {job['file_name']}, job {job['job_id']}.", *notes],
        )


def _write_parquet(source: _Source, target: BinaryIO) -> None:
    """One file, of however many objects."""
    from ingestion_pipeline.stages.canonical import table_writer

    with table_writer("parquet", target, header=True) as write:
        for frame in source.entries():
            write(frame)


@contextmanager
def _missing_told(source: _Source) -> Iterator[None]:
    try:
        yield
    except ObjectMissing as error:
        raise FileError(
            f"{error.message.rstrip('.')}: the rejected rows are not kept any more.",
            hint="Correct the whole file and upload it.",
        ) from error


@contextmanager
def _target(output: Path | None) -> Iterator[BinaryIO]:
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = output.with_name(f"{output.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def _facts(systems: Connections, job: Mapping[str, Any], kept: Quarantine) -> dict[str, Any]:
    return {
        "job_id": job["job_id"],
        "file": job["file_name"],
        "rows_rejected": job["rows_rejected"],
        "rule_counts": job["result"]["rule_counts"],
        "entries": kept.entries,
        "neutralised": kept.neutralised,
        "csv": kept.csv_url,
        "parquet": [systems.bucket.url(key) for key in kept.parquet_keys],
    }


def _say(
    job: Mapping[str, Any],
    kept: Quarantine,
    family: Sequence[Job],
    *,
    form: Form,
    output: Path | None,
    written: int | None,
    next_step: str,
) -> None:
    """What was written and what to do with it, beside standard output."""
    page = console(stderr=True)

    def say(text: str, style: str | None = None) -> None:
        page.print(text, style=style, markup=False, soft_wrap=True)

    if form == "csv" and kept.neutralised:
        say(
            f"{counted(kept.neutralised, 'line')} had cells that begin like a formula: they have an apostrophe before "
            "them now, and the column `neutralised` names them. --output FILE.parquet has them as they were.",
            "yellow",
        )
    if form == "lines" and kept.neutralised:
        say("It has cells that begin like a formula. Edit it as text: a spreadsheet may run them.", "yellow")
    made = fixes(family) if open_rows(family) is not None else []
    if form == "lines" and made and job["job_id"] == keeper(family).job_id:
        say(
            f"Some of these are fixed already: `ingestion-pipeline rejected {short(made[-1])} --fixable` has those "
            "that its correction left.",
            "yellow",
        )
    if output is None:
        return
    rejected = job["rows_rejected"]
    if written is not None and written < rejected:
        say(
            f"The first {written:,} of {counted(rejected, 'rejected row')} in {output}; "
            "--output FILE.parquet or FILE.csv has all."
        )
    else:
        say(f"{counted(rejected, 'rejected row')} in {output}.")
    if form != "lines":
        say(next_step)
    elif open_rows(family):
        say(f"Correct it, then `ingestion-pipeline resubmit {short(keeper(family))} {output}`.")
