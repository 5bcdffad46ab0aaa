"""Files of this machine as samples: small ones whole, of huge ones stretches from all over them.

What belongs here: which bytes are read. What does not: what they say (`stages.infer`).
"""

from collections.abc import Iterator
from pathlib import Path

from ingestion_pipeline.errors import FileError
from ingestion_pipeline.formats import is_parquet, may_be_json
from ingestion_pipeline.formats.compression import compression_of
from ingestion_pipeline.stages.infer import Sample

_PIECE_BYTES = 1 << 20
_SMALL_BYTES = 64 << 20
_STRETCHES = 16
_LONGEST_LINE_BYTES = 64 << 20


def sample_of(path: Path, *, rows: int, small_bytes: int = _SMALL_BYTES) -> Sample:
    """A file as a sample of about so many rows at most.

    Stretches are cut where lines end, so they are taken only of text whose lines are its rows. Of anything else that
    is huge (compressed, Parquet, one JSON document, cells of several lines) the first rows are read.

    Args:
        small_bytes: Up to this size a file is one stretch, if it has no more rows than are wanted.

    Raises:
        FileError: It cannot be opened.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_PIECE_BYTES)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}.", hint="Name a file that you may read.") from error
    lines = max(1, head.count(b"\n"))
    wanted = rows * len(head) // lines
    if size <= small_bytes or wanted >= size or not _lines_are_rows(head):
        return Sample(name=path.name, open=lambda: _pieces(path, 0, size), rows=rows)
    length = max(1, wanted // _STRETCHES)
    starts = [size * number // _STRETCHES for number in range(_STRETCHES)]

    def stretches() -> Iterator[bytes]:
        for start in starts:
            yield from _pieces(path, start, length)

    # Lines that are shorter elsewhere must not end it before the last stretch.
    return Sample(name=path.name, open=stretches, rows=2 * rows, part=min(1.0, length * _STRETCHES / size))


def _pieces(path: Path, start: int, length: int) -> Iterator[bytes]:
    """Whole lines from about `start` on, about `length` bytes of them."""
    with path.open("rb") as file:
        if start:
            file.seek(start - 1)
            file.readline(_LONGEST_LINE_BYTES)
        left = start + length - file.tell()
        while left > 0 and (piece := file.read(min(left, _PIECE_BYTES))):
            left -= len(piece)
            yield piece
        yield file.readline(_LONGEST_LINE_BYTES)


def _lines_are_rows(head: bytes) -> bool:
    if compression_of(head) is not None or is_parquet(head) or b"\0" in head:
        return False
    lines = head.split(b"\n")[:-1]
    if may_be_json(head):
        return all(line.strip()[:1] == b"{" and line.strip()[-1:] == b"}" for line in lines if line.strip())
    return all(line.count(b'"') % 2 == 0 for line in lines)
