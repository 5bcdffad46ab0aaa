"""The Python module beside a contract: checks of a Pandera model, and a `transform` of the accepted rows.

What belongs here: running it, and telling what is wrong with it. What does not: finding it (`adapters.contracts`),
where its text is only read: nothing but validation and `contract check` runs it.

It is code of whoever operates the pipeline, and may do what the pipeline may do.
"""

import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import polars as pl

from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.domain.contract_checks import polars_type
from ingestion_pipeline.domain.contract_problems import suggestion
from ingestion_pipeline.errors import ContractError
from ingestion_pipeline.stages.validate.rules import Rule, Violation, violations_of

_MODEL = "Rows"


@dataclass(frozen=True, slots=True)
class _ModelCheck:
    """One check of the model: a Boolean for each row."""

    name: str
    columns: tuple[str, ...]
    reason: str
    passes: Callable[[pl.LazyFrame], pl.LazyFrame]


class ContractModule:
    """A contract's module, ready to run.

    Raises:
        ContractError: It fails, or does not fit the contract; `details` has its file and line.
    """

    def __init__(self, contract: Contract) -> None:
        assert contract.module is not None
        self._contract, self._path = contract, contract.module.path
        self._schema = {column.name: polars_type(column) for column in contract.columns}
        module = self._loaded(contract.module.source)
        self._transform: Callable[[pl.LazyFrame], Any] | None = getattr(module, "transform", None)
        self._checks = self._model_checks(module)
        if self._transform is None and not self._checks:
            raise self._error("it has neither a DataFrameModel with a check nor a function transform")
        empty = pl.DataFrame(schema=self._schema)
        for check in self._checks:
            self._passes(check, empty)
        self.transformed(empty, [])

    def violations(self, rows: pl.DataFrame, rejected: pl.Series | None) -> list[Violation]:
        """The model's checks that rows break; only those are asked that keep the contract's own rules."""
        good = pl.int_range(rows.height, dtype=pl.UInt32, eager=True) if rejected is None else (~rejected).arg_true()
        asked = rows if rejected is None else rows[good]
        found = []
        for check in self._checks:
            broken = ~self._passes(check, asked).fill_null(True)
            if broken.any():
                where = pl.repeat(False, rows.height, dtype=pl.Boolean, eager=True).scatter(good.filter(broken), True)
                found.append(Violation(check.name, check.columns, check.reason, where))
        return found

    def transformed(self, rows: pl.DataFrame, rules: Sequence[Rule]) -> pl.DataFrame:
        """Accepted rows as `transform` gives them back: some may be missing.

        Raises:
            ContractError: It failed, or its rows are not what the contract says; the contract's rules are asked again.
        """
        if self._transform is None:
            return rows
        transform = self._transform
        given: pl.DataFrame = self._run("transform", lambda: transform(rows.lazy()).lazy().collect())
        if missing := [name for name in self._schema if name not in given.columns]:
            raise self._error(f"transform leaves out the column '{missing[0]}'")
        if extra := [name for name in given.columns if name not in self._schema]:
            hint = "Name it in the contract, with required: false if files do not have it, or drop it."
            raise self._error(f"transform adds the column '{extra[0]}', which the contract does not name", hint)
        for name, dtype in self._schema.items():
            if given.schema[name] != dtype:
                raise self._error(f"transform makes '{name}' {given.schema[name]}; the contract has {dtype}")
        if given.height > rows.height:
            raise self._error(
                f"transform makes {given.height} rows of {rows.height}", "It may leave out rows, not add."
            )
        for column in self._contract.columns:
            if not column.nullable and given[column.name].null_count():
                raise self._error(f"transform makes '{column.name}' null, which the contract does not allow")
        chosen = given.select(*self._schema)
        if broken := violations_of(list(rules), chosen):
            raise self._error(f"transform makes rows that break the rule {broken[0].name} of {broken[0].columns[0]}")
        return chosen

    def _loaded(self, source: str) -> ModuleType:
        module = ModuleType(f"ingestion_contract_{self._contract.datasource}")
        module.__file__ = str(self._path)
        sys.modules[module.__name__] = module  # where Pandera looks up the types of a model's columns
        code = self._run("it", lambda: compile(source, str(self._path), "exec", dont_inherit=True))
        self._run("it", lambda: exec(code, module.__dict__))  # noqa: S102 - the operator's own code
        return module

    def _model_checks(self, module: ModuleType) -> list[_ModelCheck]:
        if "pandera" not in sys.modules:
            return []  # nothing of it was imported, and importing it takes a second
        import pandera.polars as pa

        models = {
            name: value
            for name, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, pa.DataFrameModel) and value.__module__ == module.__name__
        }
        if not models:
            return []
        if len(models) > 1 and _MODEL not in models:
            raise self._error(f"it has several models: {', '.join(models)}", f"Name the one to use {_MODEL}.")
        model = models.get(_MODEL) or next(iter(models.values()))
        return self._checks_of(self._run(model.__name__, model.to_schema))

    def _checks_of(self, schema: Any) -> list[_ModelCheck]:
        if schema.unique or any(column.unique for column in schema.columns.values()):
            raise self._error(
                "its model has unique columns, which it would see batch by batch", "Use the contract's unique."
            )
        if schema.parsers or any(column.parsers for column in schema.columns.values()):
            raise self._error("its model has parsers, which are not run", "Write a transform.")
        checks: list[_ModelCheck] = []
        for name, column in schema.columns.items():
            if name not in self._schema:
                hint = suggestion(name, self._schema)
                raise self._error(f"its model has the column '{name}', which the contract does not name", hint)
            own, wanted = self._schema[name], column.dtype.type if column.dtype is not None else None
            if wanted is not None and wanted.base_type() != own.base_type():
                raise self._error(f"its model has '{name}' as {wanted}; the contract has {own}")
            if not column.nullable and self._contract.column(name).nullable:
                passes = _not_null(name)
                checks.append(_ModelCheck("not_nullable", (name,), "is required by the model and empty", passes))
            checks.extend(self._check(check, (name,)) for check in column.checks)
        checks.extend(self._check(check, ()) for check in schema.checks)
        return checks

    def _check(self, check: Any, columns: tuple[str, ...]) -> _ModelCheck:
        name = str(check.name or "check")
        reason = str(check.description or check.error or f"fails the check {name} of {self._path.name}")
        return _ModelCheck(name, columns or ("",), reason, lambda rows: check(rows, *columns).check_output)

    def _passes(self, check: _ModelCheck, rows: pl.DataFrame) -> pl.Series:
        found = self._run(f"the check {check.name}", lambda: check.passes(rows.lazy()).collect().to_series())
        if len(found) != rows.height:
            hint = "Give a Boolean for every row."
            raise self._error(f"the check {check.name} gives {len(found)} answers for {rows.height} rows", hint)
        return pl.Series(found)

    def _run(self, what: str, call: Callable[[], Any]) -> Any:
        """Run code of the module.

        Raises:
            ContractError: Whatever it raised.
        """
        try:
            return call()
        except (Exception, pl.exceptions.PanicException) as error:
            line = error.lineno if isinstance(error, SyntaxError) else None
            for frame in traceback.extract_tb(error.__traceback__):
                line = frame.lineno if frame.filename == str(self._path) else line
            said = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            raise self._error(f"{what} fails: {said}", "Correct the module.", line=line or 1) from error

    def _error(self, message: str, hint: str = "", *, line: int = 1) -> ContractError:
        problem = {"line": line, "key": "module", "message": message, "hint": hint}
        where = {"file": str(self._path), "datasource": self._contract.datasource}
        return ContractError(
            f"{self._path.name}:{line}: {message}.",
            hint=hint,
            details={**where, "line": line, "key": "module", "problems": [problem]},
        )


def _not_null(name: str) -> Callable[[pl.LazyFrame], pl.LazyFrame]:
    return lambda rows: rows.select(pl.col(name).is_not_null())
