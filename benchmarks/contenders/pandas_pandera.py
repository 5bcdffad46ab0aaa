"""pandas and Pandera in chunks: types, ranges, patterns and rules between columns; bad rows left out, to zstd CSV.

Written as its users would: text in, numbers by `to_numeric`, one lazy `validate` per chunk, and a set of keys for what
a chunk cannot see. A row with too many cells is skipped by the parser; one with too few is filled up with nothing.
"""

import io
from collections.abc import Callable
from typing import Any

from benchmarks.contenders.task import Task, perform

CHUNK_ROWS = 100_000
LAST_YEAR = 2262  # pandas' own end of time


def prepare(task: Task) -> Callable[[], dict[str, Any]]:
    import obstore
    import pandas as pd
    import pandera.pandas as pa
    import zstandard

    store = task.store()

    class Stream(io.RawIOBase):
        """The object as pandas reads it."""

        def __init__(self, reader: Any) -> None:
            self._reader = reader

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            data = self._reader.read(len(buffer))
            buffer[: len(data)] = memoryview(data)
            return len(data)

    optional = {"dep_time", "dep_delay", "arr_time", "arr_delay", "tailnum", "air_time"}
    ranges = {
        "year": (2013, LAST_YEAR),
        "month": (1, 12),
        "day": (1, 31),
        "dep_time": (1, 2400),
        "sched_dep_time": (0, 2359),
        "dep_delay": (-120, 2880),
        "arr_time": (1, 2400),
        "sched_arr_time": (0, 2359),
        "arr_delay": (-180, 2880),
        "flight": (1, 9999),
        "air_time": (1, 1440),
        "distance": (1, 6000),
        "hour": (0, 23),
        "minute": (0, 59),
    }
    patterns = {"carrier": "^[A-Z0-9]{2}$", "tailnum": "^[A-Z][A-Z0-9]{4,5}$", "dest": "^[A-Z]{3}$"}
    schema = pa.DataFrameSchema(
        {
            **{n: pa.Column(float, pa.Check.in_range(*r), nullable=n in optional) for n, r in ranges.items()},
            **{n: pa.Column(str, pa.Check.str_matches(p), nullable=n in optional) for n, p in patterns.items()},
            "origin": pa.Column(str, pa.Check.isin(["EWR", "JFK", "LGA"])),
            "time_hour": pa.Column("datetime64[us, UTC]", pa.Check.ge(pd.Timestamp("2013-01-01", tz="UTC"))),
        },
        checks=[
            pa.Check(lambda frame: frame["origin"] != frame["dest"], name="leaves_its_origin"),
            pa.Check(lambda f: f["sched_dep_time"] == f["hour"] * 100 + f["minute"], name="schedule_agrees"),
        ],
    )

    def typed(text: pd.DataFrame) -> tuple[pd.DataFrame, set[int]]:
        """The chunk in types, and the rows with a cell that has none of its type."""
        frame = text.copy()
        for name in ranges:
            frame[name] = pd.to_numeric(text[name], errors="coerce").astype(float)
        frame["time_hour"] = pd.to_datetime(
            text["time_hour"], format="%Y-%m-%dT%H:%M:%SZ", errors="coerce", utc=True
        ).astype("datetime64[us, UTC]")
        lost = frame.isna() & text.notna()
        return frame, set(frame.index[lost.any(axis=1)])

    def bad_rows(frame: pd.DataFrame, seen: set[int]) -> set[int]:
        bad: set[int] = set()
        try:
            schema.validate(frame, lazy=True)
        except pa.errors.SchemaErrors as errors:
            bad.update(int(index) for index in errors.failure_cases["index"].dropna())
        keys = pd.util.hash_pandas_object(frame[["time_hour", "carrier", "flight"]], index=False)
        repeated = keys.duplicated() | keys.isin(seen)
        seen.update(keys)
        return bad | set(frame.index[repeated])

    def work() -> dict[str, Any]:
        source = io.BufferedReader(Stream(obstore.open_reader(store, task.source)), 1 << 20)
        rows_out = bad = 0
        seen: set[int] = set()
        compressor = zstandard.ZstdCompressor(level=2)
        with (
            obstore.open_writer(store, f"{task.target}/rows.csv.zst") as target,
            compressor.stream_writer(target, closefd=False) as out,
            pd.read_csv(source, dtype=str, na_values=["NA"], chunksize=CHUNK_ROWS, on_bad_lines="skip") as chunks,
        ):
            for text in chunks:
                frame, wrong = typed(text)
                wrong |= bad_rows(frame, seen)
                good = frame.drop(index=list(wrong))
                buffer = io.StringIO()
                good.to_csv(buffer, index=False, header=rows_out == 0)
                out.write(buffer.getvalue().encode())
                rows_out += len(good)
                bad += len(wrong)
        return {"rows_out": rows_out, "bad_rows": bad, "version": f"{pd.__version__} / {pa.__name__}"}

    return work


if __name__ == "__main__":
    perform(prepare)
