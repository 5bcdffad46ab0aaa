"""Which column of a contract a name in a file means.

What belongs here: exact names, aliases, and names that differ in case and the space around them. What does not: finding
the names (`formats`).
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Self

from ingestion_pipeline.domain.contract import Column, Contract, NameCase, UnknownColumns


class AmbiguousNames(Exception):
    """Several names of a file fit one column.

    Attributes:
        names: As the file has them.
    """

    def __init__(self, column: Column, names: Sequence[str]) -> None:
        self.column, self.names = column, names
        listed = " and ".join(f"'{name}'" for name in names[:5])
        super().__init__(f"{listed} both fit the column {column.name}" if len(names) == 2 else f"{listed} all fit it")


class ColumnNames:
    """The names under which a file may have the columns of a contract.

    Attributes:
        unknown: What becomes of other columns, and in which one they are `rescued`.
        taken: Names of all the contract's columns, also of those that no file has.
        literal: Names whose dots do not lead into nested values.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        case: NameCase = "ignore",
        unknown: UnknownColumns = "ignore",
        rescued: str | None = None,
        taken: Collection[str] = (),
    ) -> None:
        self.columns, self.case, self.unknown, self.rescued, self.taken = columns, case, unknown, rescued, taken
        self.literal: frozenset[str] = frozenset()
        self._exact = {name: n for n, column in enumerate(columns) for name in (column.source, *column.aliases)}
        self._alike = {alike(name): n for name, n in self._exact.items()} if case == "ignore" else {}

    @classmethod
    def of(cls, contract: Contract) -> Self:
        """The names of a contract's columns."""
        taken = [column.name for column in contract.columns]
        return cls(
            contract.file_columns, contract.format.case, contract.unknown_columns, contract.rescued_column, taken
        )

    def with_columns(self, further: Sequence[Column]) -> Self:
        """These and further ones, each under its exact name in the file; others are left out."""
        more = type(self)((*self.columns, *further), self.case, "ignore", self.rescued, self.taken)
        more.literal = frozenset(column.source for column in further)
        return more

    @property
    def roots(self) -> set[str]:
        """Names in a file from which dotted ones lead into nested values."""
        names = (name for column in self.columns for name in (column.source, *column.aliases))
        return {name.split(".")[0] for name in names if "." in name and name not in self.literal}

    @property
    def are_plain(self) -> bool:
        """A file has a column under its own name or not at all, and its other columns are left out."""
        return len(self._exact) == len(self.columns) and not self._alike and self.unknown == "ignore"

    def fits(self, name: str) -> int | None:
        """The position of the column that a name could mean; None: of none."""
        position = self._exact.get(name)
        return position if position is not None else self._alike.get(alike(name))

    def matched(self, names: Iterable[str]) -> dict[int, str]:
        """The file's name of each column (by position) that is among names; an exact one is taken before others.

        Raises:
            AmbiguousNames: Several fit one column, or one stands there more than once.
        """
        found: dict[int, list[str]] = {}
        others: list[str] = []
        for name in names:
            position = self._exact.get(name)
            if position is None:
                others.append(name)
            else:
                found.setdefault(position, []).append(name)
        exactly = set(found)
        for name in others if self._alike else ():
            position = self._alike.get(alike(name))
            if position is not None and position not in exactly:
                found.setdefault(position, []).append(name)
        for position, fitting in found.items():
            if len(fitting) > 1:
                raise AmbiguousNames(self.columns[position], fitting)
        return {position: fitting[0] for position, fitting in found.items()}

    def sources(self, header: Sequence[str] | None) -> dict[str, str]:
        """The file's name of each column by the contract's; its `source` where that cannot be told.

        Args:
            header: Of a file that was read, perhaps by an earlier contract; None: not all of it is known.
        """
        try:
            found = self.matched(header or ())
        except AmbiguousNames:
            found = {}
        return {column.name: found.get(position, column.source) for position, column in enumerate(self.columns)}

    def warning(self, matched: dict[int, str]) -> str | None:
        """What to tell of columns that a file has under another name than their `source`; None: there are none."""
        others = [
            f"{self.columns[position].name} from '{name}'"
            for position, name in sorted(matched.items())
            if name != self.columns[position].source
        ]
        return f"Columns were read from other names than their own: {', '.join(others)[:300]}." if others else None


def alike(name: str) -> str:
    """The same text for names that differ only in upper and lower case and in the space around them."""
    return name.strip().casefold()
