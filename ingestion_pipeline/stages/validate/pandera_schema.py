"""The contract as a Pandera schema.

What belongs here: the translation. What does not: the run's own path, which computes the same checks without
importing Pandera (`domain.contract_checks` says why); tests hold the two against each other, and
`contract check` builds this schema so that whatever it accepts is a schema that Pandera accepts too.
"""

from typing import Any

import pandera.polars as pa

from ingestion_pipeline.domain.contract import Check, Column, Contract, CrossCheck
from ingestion_pipeline.domain.contract_checks import ALIASES, polars_type
from ingestion_pipeline.domain.contract_sql import sql_expression

_LONG_NAMES = {short: long for long, short in ALIASES.items()} | {"in_range": "in_range"}


def pandera_schema(contract: Contract) -> pa.DataFrameSchema:
    """A schema for typed frames of the contract (what `ValidationSink.accepted` gets).

    Raises:
        ValueError, TypeError: Pandera refuses an argument of a check.
    """
    return pa.DataFrameSchema(
        {column.name: _column(column) for column in contract.columns},
        checks=[_cross_check(check) for check in contract.checks],
        unique=list(contract.unique) or None,
        name=contract.datasource,
    )


def _column(column: Column) -> pa.Column:
    checks = [_check(check) for check in column.checks]
    return pa.Column(polars_type(column), checks, nullable=column.nullable, required=column.required)


def _check(check: Check) -> pa.Check:
    built: pa.Check = getattr(pa.Check, _LONG_NAMES.get(check.name, check.name))(**check.arguments, name=check.name)
    return built


def _cross_check(check: CrossCheck) -> pa.Check:
    def passes(data: Any) -> Any:
        return data.lazyframe.select(sql_expression(check.expr))

    return pa.Check(passes, name=check.name)
