"""What an asset's page says of its datasource: the contract in words, as Markdown.

What belongs here: words. What does not: what happens (`domain.contract` and the stages do what is said here).
"""

from collections.abc import Iterator

from ingestion_pipeline.defs.metadata import inline_code, markdown_table
from ingestion_pipeline.domain.contract import Column, Contract
from ingestion_pipeline.domain.contract_checks import check_reason

COLUMNS_SHOWN = 200

_UNKNOWN = {
    "ignore": "left out, with a warning",
    "fail": "make the file unreadable",
    "rescue": "kept as JSON in {column}",
    "add": "added, each as a column of text",
}
_HISTORY = {"wait": "waits for a backfill", "auto": "is loaded too, behind new files"}
_DUPLICATES = {"load": "are loaded", "skip": "end as `duplicate`"}


def description_of(contract: Contract) -> str:
    """What one row is, where the files lie, what they have to be, and what becomes of them."""
    return "\n\n".join(_parts(contract))


def _parts(contract: Contract) -> Iterator[str]:
    yield contract.description or f"Files loaded into Druid datasource `{contract.datasource}`."
    if contract.expect is not None:
        whose = ", ".join(contract.expect.organizations)
        yield f"**Expected:** {contract.expect.sentence}{f', of each of {whose}' if whose else ''}."
    yield "**Files**\n\n" + "\n".join(
        f"- {inline_code(pattern.pattern)}{f' of {pattern.organization}' if pattern.organization else ''}"
        for pattern in contract.files
    )
    # Before the columns, which may be many: a long description is cut on the page.
    yield "**What becomes of it**\n\n" + "\n".join(f"- {policy}" for policy in _policies(contract))
    if rules := list(_rules(contract)):
        yield "**Rules of a row**\n\n" + "\n".join(f"- {rule}" for rule in rules)
    yield "**Columns**\n\n" + markdown_table([_column(column) for column in contract.columns[:COLUMNS_SHOWN]])
    if len(contract.columns) > COLUMNS_SHOWN:
        yield f"… and {len(contract.columns) - COLUMNS_SHOWN} more"


def _column(column: Column) -> dict[str, str]:
    rules = [f"= {column.expr}"] if column.expr else []
    rules += [check_reason(check) for check in column.checks]
    return {
        "column": column.name,
        "type": column.type,
        "empty": "allowed" if column.nullable else ("" if column.required else "column optional"),
        "rules": "; ".join(rules),
        "meaning": column.description,
    }


def _rules(contract: Contract) -> Iterator[str]:
    for rule in contract.checks:
        yield f"{inline_code(rule.name)}: {inline_code(rule.expr)} {rule.description}".rstrip()
    if contract.unique:
        yield f"unique in its file: {', '.join(inline_code(name) for name in contract.unique)}"
    if contract.filter:
        yield f"left out and counted as filtered unless {inline_code(contract.filter)}"
    if contract.module:
        yield f"further checks by {inline_code(contract.module.path.name)}"


def _policies(contract: Contract) -> Iterator[str]:
    yield f"Rejected rows: {contract.reject.sentence}."
    rescued = inline_code(contract.rescued_column or "")
    yield f"Columns that are not named here are {_UNKNOWN[contract.unknown_columns].format(column=rescued)}."
    yield f"Files with the very bytes of another key {_DUPLICATES[contract.duplicates]}."
    yield f"What is older than the contract {_HISTORY[contract.history]}."
    yield (
        f"{inline_code(contract.time.column)} is Druid's time, from {contract.time.min:%Y-%m-%d} to "
        f"{contract.time.max:%Y-%m-%d}; segments by {contract.druid.segment_granularity}."
    )
