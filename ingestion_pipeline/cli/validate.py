"""Command `validate`: what a contract says about files, before they are uploaded.

What belongs here: what people see, exit codes. What does not: judging (`cli.dry_run`), marking cells (`marked_rows`).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingestion_pipeline.cli.dry_run import DryRun, judge
from ingestion_pipeline.cli.local_files import end_with, format_line, named_contract
from ingestion_pipeline.cli.marked_rows import RowMarks, marked
from ingestion_pipeline.cli.output import AsJson, console, counted, escaped, json_text, table
from ingestion_pipeline.domain.contract import Contract

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer()

_INDENT = "  "
_MAX_ROWS = 1000


@app.command()
def validate(
    files: Annotated[list[Path], typer.Argument(help="What is to be checked.", show_default=False)],
    contract: Annotated[str, typer.Option("--contract", metavar="C", help="A contract's YAML file, or a datasource.")],
    errors: Annotated[
        int, typer.Option("--errors", min=0, max=_MAX_ROWS, help="How many rejected rows are shown.")
    ] = 10,
    as_json: AsJson = False,
) -> None:
    """Check every row of files by a contract, without loading anything; no server is needed.

    Exit code 0: every row is good; 4: some rows would be rejected; 1: a file would fail as a whole.
    """
    by = named_contract(contract)
    page = console()
    found = []
    for source in files:
        judged = judge(source, by, DryRun())
        found.append(judged)
        if not as_json:
            _show(page, judged, by, errors)
    if as_json:
        typer.echo(json_text(found[0] if len(found) == 1 else found))
    end_with({judged["outcome"] for judged in found})


def _show(page: "Console", judged: dict[str, Any], contract: Contract, errors: int) -> None:
    name = escaped(Path(judged["file"]).name)
    page.print(f"[bold]{name}[/]  by the contract of {contract.datasource} [dim]{escaped(f'[{contract.version}]')}[/]")
    if judged.get("format"):
        page.print(f"{_INDENT}{format_line(judged['format'])}", soft_wrap=True)
    for warning in judged.get("warnings", ()):
        page.print(f"{_INDENT}[yellow]note[/] {escaped(warning)}", soft_wrap=True)
    rows = judged.get("rejected", [])
    marks = RowMarks(contract, judged.get("format") or {})
    for row in rows[:errors]:
        _show_row(page, row, marks)
    rest = judged.get("rows_rejected", 0) - len(rows[:errors])
    if rest > 0:
        more = f"; --errors {_MAX_ROWS} shows more" if errors < min(len(rows), _MAX_ROWS) else ""
        page.print(f"\n{_INDENT}… and {counted(rest, 'more rejected row')}{more}")
    if judged.get("rule_counts"):
        counts = table("rule", "column", "rows", right=("rows",))
        for count in judged["rule_counts"]:
            counts.add_row(escaped(count["rule"]), escaped(count["column"]), f"{count['count']:,}")
        page.print()
        page.print(counts)
    page.print()
    page.print(_verdict(judged), soft_wrap=True)


def _show_row(page: "Console", row: dict[str, Any], marks: RowMarks) -> None:
    page.print()
    width = page.width - len(_INDENT)
    for error in row["errors"]:
        where = f"[bold]{escaped(error['column'])}[/]  " if error["column"] else ""
        value = "" if error["value"] is None or not error["column"] else f" [red]{escaped(_short(error['value']))}[/]"
        reason = f"{where}{escaped(error['rule'])}:{value} {escaped(error['reason'])}"
        page.print(f"line {row['line']:,}  {reason}", soft_wrap=True)
        text, mark = marked(row["text"], marks.span(row["text"], error["column"]), width)
        page.print(f"{_INDENT}{escaped(text)}", style="dim", soft_wrap=True)
        if mark:
            page.print(f"{_INDENT}{mark}", style="red", soft_wrap=True)


def _short(value: str) -> str:
    return repr(value if len(value) <= 60 else f"{value[:59]}…")


def _verdict(judged: dict[str, Any]) -> str:
    counts = ""
    if "rows_read" in judged:
        filtered = f", {judged['rows_filtered']:,} filtered" if judged["rows_filtered"] else ""
        counts = (
            f"{counted(judged['rows_read'], 'row')} read, {judged['rows_accepted']:,} accepted, "
            f"{judged['rows_rejected']:,} rejected{filtered}"
        )
    if judged["outcome"] == "rejected":
        error = judged["error"]
        return f"[red]It would fail as a whole[/]: {escaped(error['message'])} {escaped(error['hint'] or '')}"
    if judged["outcome"] == "partly read":
        return f"[yellow]Good rows would be loaded, the others kept in quarantine[/]: {counts}."
    return f"[green]Every row is good[/]: {counts}."
