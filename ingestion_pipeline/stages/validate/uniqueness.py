"""Rows that may occur once in a file, over the whole file, in bounded memory.

What belongs here: finding second occurrences. What does not: what a row's key is (the contract says it).

A key is kept as its 64-bit hash beside its line: 16 bytes a row. Two different keys
with one hash would reject a good row: in a file of ten million rows the chance of that is one in 370,000
(n² / 2⁶⁵). Hashes lie in sorted
runs; the runs beyond the first few million go to a temporary file, and a bitmap of fixed size answers
most look-ups without touching any run.
"""

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl

_RUN_KEYS = 1_000_000
_RUNS_IN_MEMORY = 4
_BITMAP_BITS = 27  # 16 MB: a look-up in a file of ten million rows goes on to the runs in 7 of 100 cases


# A numpy array; numpy itself is imported only by contracts that have such a rule.
Keys = Any


class UniqueKeys:
    """The keys seen so far, each with the line on which it was first seen."""

    def __init__(self, *, run_keys: int = _RUN_KEYS, runs_in_memory: int = _RUNS_IN_MEMORY) -> None:
        import numpy as np

        self._np = np
        self._bitmap = np.zeros(1 << (_BITMAP_BITS - 3), dtype=np.uint8)
        self._runs: list[tuple[Keys, Keys]] = []
        self._fresh: list[tuple[Keys, Keys]] = []
        self._fresh_count = 0
        self._run_keys = run_keys
        self._runs_in_memory = runs_in_memory
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runs.clear()
        self._fresh.clear()
        if self._directory is not None:
            self._directory.cleanup()

    def add(self, keys: pl.DataFrame, lines: pl.Series) -> pl.Series:
        """Enter the keys of some rows.

        Args:
            keys: One row per key; a key with a null in it is never a duplicate (as in SQL).
            lines: Int64, the line of each.

        Returns:
            For each row the line on which its key was first seen; null where it is new.
        """
        np = self._np
        hashes = keys.hash_rows(seed=17).to_numpy()
        numbers = lines.to_numpy()
        complete = ~keys.select(pl.any_horizontal(pl.all().is_null())).to_series().to_numpy()
        first = np.full(len(hashes), -1, dtype=np.int64)
        order = np.argsort(hashes)
        order = order[complete[order]]
        ordered = hashes[order]
        begins = np.ones(len(order), dtype=bool)
        begins[1:] = ordered[1:] != ordered[:-1]
        if not begins.all():
            # Equal keys within the chunk: only a stable sort, which is slower, puts the first of them first.
            order = np.argsort(hashes, kind="stable")
            order = order[complete[order]]
            owner = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
            first[order[~begins]] = numbers[order[owner[~begins]]]
        # Against earlier chunks; an earlier line there beats one in the chunk.
        candidates = order[self._maybe_seen(ordered)]
        if len(candidates):
            found = self._look_up(hashes[candidates])
            first[candidates[found >= 0]] = found[found >= 0]
        new = order[first[order] < 0]
        self._remember(hashes[new], numbers[new])
        earlier = pl.Series(first, dtype=pl.Int64)
        return earlier.set(earlier < 0, None)

    def _maybe_seen(self, hashes: Keys) -> Keys:
        np = self._np
        position = hashes >> np.uint64(64 - _BITMAP_BITS)
        bit = np.left_shift(1, (position & np.uint64(7)).astype(np.uint8)).astype(np.uint8)
        seen: Keys = (self._bitmap[position >> np.uint64(3)] & bit) != 0
        return seen

    def _look_up(self, hashes: Keys) -> Keys:
        """The line of each hash, -1 where it is new."""
        np = self._np
        found: Keys = np.full(len(hashes), -1, dtype=np.int64)
        for known, lines in (*self._runs, *self._fresh):
            at = np.searchsorted(known, hashes)
            at[at == len(known)] = 0
            hit = known[at] == hashes
            found[hit] = lines[at[hit]]
        return found

    def _remember(self, hashes: Keys, lines: Keys) -> None:
        """Add new keys, which come sorted by hash."""
        if not len(hashes):
            return
        np = self._np
        position = hashes >> np.uint64(64 - _BITMAP_BITS)
        bit = np.left_shift(1, (position & np.uint64(7)).astype(np.uint8)).astype(np.uint8)
        byte = position >> np.uint64(3)
        begins = np.flatnonzero(np.concatenate(([True], byte[1:] != byte[:-1])))
        self._bitmap[byte[begins]] |= np.bitwise_or.reduceat(bit, begins)
        self._fresh.append((hashes, lines))
        self._fresh_count += len(hashes)
        if self._fresh_count < self._run_keys:
            return
        merged = np.concatenate([part for part, _ in self._fresh])
        order = np.argsort(merged)
        run = (merged[order], np.concatenate([part for _, part in self._fresh])[order])
        self._runs.append(run if len(self._runs) < self._runs_in_memory else self._on_disk(run))
        self._fresh, self._fresh_count = [], 0

    def _on_disk(self, run: tuple[Keys, Keys]) -> tuple[Keys, Keys]:
        np = self._np
        if self._directory is None:
            self._directory = tempfile.TemporaryDirectory(prefix="ingestion-unique-")
        mapped = []
        for name, part in zip(("hashes", "lines"), run, strict=True):
            path = Path(self._directory.name) / f"{len(self._runs)}.{name}"
            part.tofile(path)
            mapped.append(np.memmap(path, dtype=part.dtype, mode="r"))
        return mapped[0], mapped[1]
