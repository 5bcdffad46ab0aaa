"""Rows that may occur once in a file, over the whole file, in bounded memory.

What belongs here: finding second occurrences. What does not: what a row's key is (the contract says it).

A key is kept as its 64-bit hash beside its line: 16 bytes a row, on disk but for the last million. Two different keys
with one hash would reject a good row: in a file of ten million rows the chance of that is one in 370,000 (n² / 2⁶⁵).
Hashes lie in sorted runs in a temporary file; a Bloom filter answers nearly every look-up without them. In memory are
the filter (2 bytes a row, at most 32 MB: then it answers less often) and the keys that make no full run yet.

Numpy is imported here at the top: import this module where a contract has such a rule.
"""

import mmap
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Lines = NDArray[np.int64]
Mask = NDArray[np.bool_]

_RUN_KEYS = 1_000_000
_FEWEST_WORDS, _MOST_WORDS = 1 << 20, 1 << 22
_KEYS_PER_WORD = 4
_AT_ONCE = 100_000


class UniqueKeys:
    """The keys seen so far, each with the line on which it was first seen.

    Args:
        run_keys: So many keys go to disk as one run.
        words: Of the filter, at first and at most; powers of two.
    """

    def __init__(self, *, run_keys: int = _RUN_KEYS, words: tuple[int, int] = (_FEWEST_WORDS, _MOST_WORDS)) -> None:
        self._run_keys, self._most_words = run_keys, words[1]
        self._filter = _Filter(words[0])
        self._fresh: list[tuple[Hashes, Lines]] = []
        self._fresh_count = 0
        self._runs = _Runs()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fresh.clear()
        self._runs.close()

    def add(self, keys: pl.DataFrame, lines: pl.Series, rejected: pl.Series | None = None) -> pl.Series:
        """Enter the keys of some rows.

        Args:
            keys: One row per key; a key with a null in it is never a duplicate (as in SQL).
            lines: Int64, the line of each.
            rejected: Rows whose keys do not count.

        Returns:
            For each row the line on which its key was first seen; null where it is new or does not count.
        """
        hashes = keys.hash_rows(seed=17).to_numpy()
        numbers = lines.to_numpy()
        left_out = keys.select(pl.any_horizontal(pl.all().is_null())).to_series()
        counts = ~(left_out if rejected is None else left_out | rejected).to_numpy()
        first = np.full(len(hashes), -1, dtype=np.int64)
        order = np.argsort(hashes)
        order = order[counts[order]]
        ordered = hashes[order]
        begins = np.ones(len(order), dtype=bool)
        begins[1:] = ordered[1:] != ordered[:-1]
        if not begins.all():
            # Equal keys within the chunk: the sort is not stable, so the first of them has yet to come first.
            equal = ~begins
            equal[:-1] |= equal[1:]
            order[equal] = order[equal][np.lexsort((order[equal], ordered[equal]))]
            owner = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
            first[order[~begins]] = numbers[order[owner[~begins]]]
        # Against earlier chunks; an earlier line there beats one in the chunk.
        candidates = order[self._filter.may_hold(ordered)]
        if len(candidates):
            found = self._look_up(hashes[candidates])
            first[candidates[found >= 0]] = found[found >= 0]
        new = order[first[order] < 0]
        self._remember(hashes[new], numbers[new])
        earlier = pl.Series(first, dtype=pl.Int64)
        return earlier.set(earlier < 0, None)

    def _look_up(self, hashes: Hashes) -> Lines:
        """The line of each hash, -1 where it is new."""
        found = np.full(len(hashes), -1, dtype=np.int64)
        for known, lines in self._known():
            at = np.searchsorted(known, hashes)
            at[at == len(known)] = 0
            hit = known[at] == hashes
            found[hit] = lines[at[hit]]
        return found

    def _known(self) -> Iterator[tuple[Hashes, Lines]]:
        yield from self._fresh
        for number in range(len(self._runs)):
            with self._runs.opened(number) as run:
                yield run

    def _remember(self, hashes: Hashes, lines: Lines) -> None:
        """Add new keys, which come sorted by hash."""
        if not len(hashes):
            return
        self._fresh.append((hashes, lines))
        self._fresh_count += len(hashes)
        self._filter.add(hashes)
        if self._filter.is_full and self._filter.words < self._most_words:
            self._filter = _Filter(self._filter.words * 2)
            for known, _ in self._known():
                self._filter.add(known)
        if self._fresh_count >= self._run_keys:
            self._runs.append(self._fresh)
            self._fresh, self._fresh_count = [], 0


class _Filter:
    """Tells of most hashes that they were never added (a Bloom filter whose bits for a key lie in one word).

    With `_KEYS_PER_WORD` keys to a word, 1 of 200 new ones looks as if it were known; with twice as many, 1 of 25.
    """

    def __init__(self, words: int) -> None:
        self._words = np.zeros(words, dtype=np.uint64)
        self._shift = np.uint64(64 - (words.bit_length() - 1))
        self._count = 0

    @property
    def words(self) -> int:
        return len(self._words)

    @property
    def is_full(self) -> bool:
        return self._count > len(self._words) * _KEYS_PER_WORD

    def may_hold(self, hashes: Hashes) -> Mask:
        bits = self._bits(hashes)
        held: Mask = (self._words[hashes >> self._shift] & bits) == bits
        return held

    def add(self, hashes: Hashes) -> None:
        """Hashes must come sorted."""
        self._count += len(hashes)
        for start in range(0, len(hashes), _AT_ONCE):
            some = hashes[start : start + _AT_ONCE]
            word = some >> self._shift
            begins = np.flatnonzero(np.concatenate(([True], word[1:] != word[:-1])))
            self._words[word[begins]] |= np.bitwise_or.reduceat(self._bits(some), begins)

    @staticmethod
    def _bits(hashes: Hashes) -> Hashes:
        """Four bits of a word for each; the word itself is told by other bits of the hash."""
        one, low = np.uint64(1), np.uint64(63)
        bits = one << (hashes & low)
        for shift in (6, 12, 18):
            bits |= one << ((hashes >> np.uint64(shift)) & low)
        return bits


class _Runs:
    """Sorted runs in one temporary file, of each its hashes and then its lines.

    Their pages leave the process's memory when a look is over.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._places: list[tuple[int, int]] = []  # where it begins, how many keys

    def __len__(self) -> int:
        return len(self._places)

    def append(self, parts: Sequence[tuple[Hashes, Lines]]) -> None:
        """Write all of them as one run. Of what that takes in memory, as little as possible is there at once."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="ingestion-unique-")  # noqa: SIM115 - `close` closes it
        # A mapping begins at a multiple of the granularity.
        start = -(-self._file.tell() // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        self._file.seek(start)
        hashes = np.concatenate([part for part, _ in parts])
        order = np.argsort(hashes)
        self._write(hashes, order)
        del hashes
        self._write(np.concatenate([part for _, part in parts]), order)
        self._file.flush()
        self._places.append((start, len(order)))

    def _write(self, numbers: Hashes | Lines, order: NDArray[np.intp]) -> None:
        assert self._file is not None
        for at in range(0, len(order), _AT_ONCE):
            self._file.write(numbers[order[at : at + _AT_ONCE]].data)

    @contextmanager
    def opened(self, number: int) -> Iterator[tuple[Hashes, Lines]]:
        """One run, while the context is open."""
        assert self._file is not None
        start, count = self._places[number]
        mapped: Any = mmap.mmap(self._file.fileno(), count * 16, access=mmap.ACCESS_READ, offset=start)
        yield np.frombuffer(mapped, np.uint64, count), np.frombuffer(mapped, np.int64, count, count * 8)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
