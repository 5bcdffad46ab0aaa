"""Small contracts for tests, and a sink that keeps what it gets."""

from collections.abc import Iterator
from typing import Any

import polars as pl

from ingestion_pipeline.domain.contract import Contract
from ingestion_pipeline.domain.contract_document import read_document


def contract_of(columns: dict[str, Any] | None = None, **keys: Any) -> Contract:
    """A contract with a time column `at` and the given columns; other keys as in YAML."""
    document: dict[str, Any] = {
        "datasource": "things",
        "partition_start": "2020-01-01",
        "time": {"column": "at"},
        "columns": {"at": {"type": "datetime"}, **(columns or {})},
        **keys,
    }
    contract = read_document(document, version="0" * 12)
    assert isinstance(contract, Contract), contract
    return contract


def problems_of(**keys: Any) -> dict[str, str]:
    """The problems of a document that is right but for the given keys: key -> message and hint."""
    document: dict[str, Any] = {
        "datasource": "things",
        "partition_start": "2020-01-01",
        "time": {"column": "at"},
        "columns": {"at": {"type": "datetime"}, "n": {"type": "integer"}, "word": {"type": "string"}},
        **keys,
    }
    found = read_document(document, version="0" * 12)
    return {} if isinstance(found, Contract) else {p.key: f"{p.message}. {p.hint}" for p in found}


class KeptRows:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.parts: list[pl.DataFrame] = []
        self.rejects: list[pl.DataFrame] = []

    def accepted(self, frame: pl.DataFrame) -> None:
        self.parts.append(frame)

    def rejected(self, frame: pl.DataFrame) -> None:
        self.rejects.append(frame)

    @property
    def rows(self) -> pl.DataFrame:
        return pl.concat(self.parts)

    @property
    def broken(self) -> list[tuple[int, str, str]]:
        return [row for frame in self.rejects for row in frame.select("line", "column", "rule").iter_rows()]


def in_pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]
