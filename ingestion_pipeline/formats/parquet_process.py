"""A process of its own that decodes a Parquet file: slices of its rows in, as Arrow, on standard output.

What belongs here: both ends of the pipe. What does not: what the rows mean (`parquet`).

A damaged file can make the decoder abort the process that it runs in, as when a wrong length asks for more memory
than there is. So it is a process that may die. This file is also the program that runs there; it imports nothing of
this project, and starts as fast as Polars does.

Every message is its kind (one byte), the length of its content (eight bytes) and the content.
"""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import BinaryIO, Self

import polars as pl

_SCHEMA, _ROWS, _ERROR, _END = b"S", b"R", b"E", b"."
_CHUNK_ROWS = 100_000
_SECRETS = ("INGESTION_", "DAGSTER_", "AWS_")  # beginnings of the names of settings
# The first slice, which tells how much memory a row takes.
_FIRST_ROWS = 1000
# How a process ends by a fault of its own; any other signal came from outside.
_FAULTS = {-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, -signal.SIGFPE, -signal.SIGTRAP}


class DamagedParquet(Exception):
    """The decoder refused the file or died of it; the message says why."""


class ParquetProcess:
    """A running decoder. Use it as a context manager: the process ends with it.

    Args:
        file: The whole Parquet file, on disk.

    Raises:
        DamagedParquet: Its layout cannot be read.
        ChildProcessError: The decoder was ended from outside.
    """

    def __init__(self, file: BinaryIO) -> None:
        number = file.fileno()
        command = [sys.executable, "-P", __file__, f"/dev/fd/{number}"]
        # A decoder of strangers' files has no business with passwords.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_SECRETS)}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[number],
            env=environment,
        )
        try:
            self.schema = self._frame(_SCHEMA).schema
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def rows(self, columns: Sequence[tuple[str, Sequence[str]]], slice_bytes: int) -> Iterator[pl.DataFrame]:
        """All rows in order, in slices.

        Args:
            columns: The name that each is to have, and the keys that lead to it (more than one: into structs).
            slice_bytes: About how much memory a slice takes.

        Raises:
            DamagedParquet, ChildProcessError: As above.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it died; reading will tell
            self._process.stdin.write(json.dumps({"columns": columns, "slice_bytes": slice_bytes}).encode() + b"\n")
            self._process.stdin.flush()
        while True:
            kind, content = self._message()
            if kind == _END:
                return
            yield _from_arrow(content)

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def _frame(self, wanted: bytes) -> pl.DataFrame:
        kind, content = self._message()
        assert kind == wanted
        return _from_arrow(content)

    def _message(self) -> tuple[bytes, bytes]:
        pipe = self._process.stdout
        assert pipe is not None
        head = pipe.read(9)
        content = pipe.read(int.from_bytes(head[1:])) if len(head) == 9 else b""
        if len(head) < 9 or len(content) < int.from_bytes(head[1:]):
            ended = self._process.wait()
            if ended in _FAULTS:
                raise DamagedParquet("its decoder crashed")
            raise ChildProcessError(f"The process that decodes Parquet ended with {ended}.")
        if head[:1] == _ERROR:
            raise DamagedParquet(content.decode(errors="replace"))
        return head[:1], content


def _from_arrow(content: bytes) -> pl.DataFrame:
    return pl.read_ipc_stream(io.BytesIO(content))


def _send(kind: bytes, content: bytes = b"") -> None:
    sys.stdout.buffer.write(kind + len(content).to_bytes(8))
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def _send_frame(kind: bytes, frame: pl.DataFrame) -> None:
    arrow = io.BytesIO()
    frame.write_ipc_stream(arrow)
    _send(kind, arrow.getbuffer())  # type: ignore[arg-type]


def _decode(path: str) -> None:
    frame = pl.scan_parquet(path, glob=False, hive_partitioning=False, use_statistics=False, cache=False)
    height = frame.select(pl.len()).collect(engine="in-memory").item()
    _send_frame(_SCHEMA, pl.DataFrame(schema=frame.collect_schema()))
    request = json.loads(sys.stdin.buffer.readline())
    values = []
    for name, (root, *inside) in request["columns"]:
        value = pl.col(root)
        for key in inside:
            value = value.struct.field(key)
        values.append(value.alias(name))
    offset, wanted = 0, _FIRST_ROWS
    while offset < height:
        wanted = min(wanted, height - offset)
        # Not the streaming engine: a panic of its threads ends the rows without an error.
        rows = frame.select(values).slice(offset, wanted).collect(engine="in-memory")
        if rows.height != wanted:
            raise ValueError(f"{rows.height} rows where {wanted} were expected")
        _send_frame(_ROWS, rows)
        offset += wanted
        row_bytes = max(rows.estimated_size() // wanted, 16 * rows.width)
        wanted = int(max(1, min(_CHUNK_ROWS, request["slice_bytes"] // row_bytes)))
    _send(_END)


def main() -> None:
    """The program: decode the file that is named, tell rows or what is wrong."""
    try:
        _decode(sys.argv[1])
    except (Exception, pl.exceptions.PanicException) as error:  # noqa: BLE001 - told to the other side
        with suppress(BrokenPipeError):
            _send(_ERROR, " ".join(str(error).split())[:200].encode())
    os._exit(0)  # threads of a decoder that panicked may never end


if __name__ == "__main__":
    main()
