"""Commands for contracts: `contract check`, `contract show`, `contract schema`; `contract infer` has its own module.

What belongs here: their options and what people see. What does not: what a contract may say (`domain`).
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ingestion_pipeline.cli.contract_infer import infer
from ingestion_pipeline.cli.output import AsJson
from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.errors import ConfigurationError, ContractError

app = typer.Typer(help="Draft, check and show contracts.", no_args_is_help=True)
app.command()(infer)


@app.command()
def check(
    path: Annotated[
        Path | None, typer.Argument(help="A contract, or a directory of them; default: the directory of the settings.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Explain every mistake as file:line: key: message. Exit code 1 if there is one."""
    contracts, broken = _load(path or _contracts_dir())
    problems = [
        {"file": error.details["file"], "datasource": error.details["datasource"], **problem}
        for error in broken
        for problem in error.details["problems"]
    ]
    problems.extend(problem for contract in contracts if (problem := _refused_when_run(contract)))
    if as_json:
        checked = [{"datasource": c.datasource, "file": str(c.path), "version": c.version} for c in contracts]
        typer.echo(json.dumps({"ok": not problems, "contracts": checked, "problems": problems}))
    else:
        for contract in contracts:
            rules = sum(len(column.checks) for column in contract.columns)
            typer.echo(
                f"ok      {contract.datasource:20} {len(contract.columns)} columns, {rules} rules on columns, "
                f"{len(contract.checks)} between columns  [{contract.version}]"
            )
        for problem in problems:
            key = f"{problem['key']}: " if problem["key"] else ""
            hint = f". {problem['hint']}" if problem["hint"] else ""
            typer.secho(f"{problem['file']}:{problem['line']}: {key}{problem['message']}{hint}", fg=typer.colors.RED)
        if not contracts and not problems:
            typer.echo("No contracts there.")
    if problems:
        raise typer.Exit(1)


@app.command()
def show(
    datasource: Annotated[str, typer.Argument(help="The datasource's name.")],
    as_json: AsJson = False,
) -> None:
    """Show what a datasource's files must be: keys, columns, rules, Druid layout."""
    contracts, broken = _load(_contracts_dir())
    for error in broken:
        if error.details["datasource"] == datasource:
            raise error
    contract = next((c for c in contracts if c.datasource == datasource), None)
    if contract is None:
        names = ", ".join(c.datasource for c in contracts) or "none"
        raise ConfigurationError(f"There is no contract '{datasource}'.", hint=f"There are: {names}.")
    described = _described(contract)
    if as_json:
        typer.echo(json.dumps(described, default=str))
        return
    _print(contract, described)


@app.command()
def schema() -> None:
    """Print the JSON schema of a contract, for editors that check YAML while it is typed."""
    from ingestion_pipeline.domain.contract_schema import contract_schema

    typer.echo(json.dumps(contract_schema(), indent=2, ensure_ascii=False))


def _contracts_dir() -> Path:
    from ingestion_pipeline.settings import load_settings

    return load_settings().contracts_dir


def _load(path: Path) -> tuple[list[Contract], list[ContractError]]:
    from ingestion_pipeline.adapters.contracts import load_contract, load_contracts

    if path.is_dir():
        book = load_contracts(path)
        return list(book.contracts.values()), list(book.broken)
    try:
        return [load_contract(path)], []
    except ContractError as error:
        return [], [error]


def _refused_when_run(contract: Contract) -> dict[str, Any] | None:
    from ingestion_pipeline.stages.validate import ContractModule
    from ingestion_pipeline.stages.validate.pandera_schema import pandera_schema

    try:
        pandera_schema(contract)
        if contract.module is not None:
            ContractModule(contract)
    except ContractError as error:
        return {"file": error.details["file"], "datasource": contract.datasource, **error.details["problems"][0]}
    except (TypeError, ValueError) as error:
        return {
            "file": str(contract.path),
            "datasource": contract.datasource,
            "line": 1,
            "key": "columns",
            "message": f"Pandera refuses a check: {error}",
            "hint": "",
        }
    return None


def _described(contract: Contract) -> dict[str, Any]:
    from ingestion_pipeline.domain.contract_checks import check_reason
    from ingestion_pipeline.stages.transform import druid_dimensions

    return {
        "datasource": contract.datasource,
        "description": contract.description,
        "version": contract.version,
        "file": str(contract.path),
        "owners": list(contract.owners),
        "files": [
            {"pattern": pattern.pattern, "organization": pattern.organization or "{organization}"}
            for pattern in contract.files
        ],
        "partition_start": contract.partition_start.isoformat(),
        "history": contract.history,
        "live_from": contract.live_from,
        "columns": [
            {
                "name": column.name,
                "type": column.type,
                "required": column.required,
                "nullable": column.nullable,
                "aliases": list(column.aliases),
                "expr": column.expr,
                "rules": [check_reason(check) for check in column.checks],
            }
            for column in contract.columns
        ],
        "checks": [{"name": c.name, "expr": c.expr, "description": c.description} for c in contract.checks],
        "filter": contract.filter,
        "unique": list(contract.unique),
        "unknown_columns": contract.unknown_columns,
        "module": str(contract.module.path) if contract.module else None,
        "time": {"column": contract.time.column, "min": contract.time.min, "max": contract.time.max},
        "segment_granularity": contract.druid.segment_granularity,
        "reject": {
            "policy": contract.reject.policy,
            "max_fraction": contract.reject.max_fraction,
            "max_rows": contract.reject.max_rows,
        },
        "expect": contract.expect.sentence if contract.expect else None,
        "druid_dimensions": druid_dimensions(contract),
    }


def _print(contract: Contract, described: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    console.print(f"[bold]{described['datasource']}[/bold]  {escape(described['description'])}")
    console.print(f"version {described['version']}  {escape(described['file'])}", highlight=False)
    for file in described["files"]:
        console.print(f"files   {escape(file['pattern'])}", highlight=False)
    time = described["time"]
    console.print(f"time    {time['column']}, {time['min']:%Y-%m-%d} to {time['max']:%Y-%m-%d}", highlight=False)
    console.print(f"druid   segments by {described['segment_granularity']}", highlight=False)
    console.print(f"reject  {contract.reject.sentence}", highlight=False)
    if described["expect"]:
        console.print(f"expect  {escape(described['expect'])}", highlight=False)
    table = Table("column", "type", "empty", "rules", box=None, header_style="bold")
    for column in described["columns"]:
        computed = f"= {column['expr']}" if column["expr"] else ""
        rules = "; ".join(filter(None, [computed, *column["rules"]]))
        empty = "allowed" if column["nullable"] else ("" if column["required"] else "column optional")
        table.add_row(column["name"], column["type"], empty, escape(rules))
    console.print(table)
    for rule in described["checks"]:
        console.print(f"rule    {rule['name']}: {escape(rule['expr'])}", highlight=False)
    if described["filter"]:
        console.print(f"filter  {escape(described['filter'])}", highlight=False)
    if described["module"]:
        console.print(f"module  {escape(described['module'])}", highlight=False)
    if described["unique"]:
        console.print(f"unique  {', '.join(described['unique'])}", highlight=False)
