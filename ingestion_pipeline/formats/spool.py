"""A stream that has to be read twice: kept on the disk while it is read for the first time.

What belongs here: the temporary file. What does not: why anything is read twice.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_PIECE_BYTES = 1024 * 1024


class Spool:
    """A stream, once as it comes and once again.

    Its file has no name on the disk, so nothing stays of it, however this process ends.
    """

    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream
        self._file = tempfile.TemporaryFile(prefix="ingestion-")  # noqa: SIM115 - closed by `first` or `again`

    def first(self, look: Callable[[Iterator[bytes]], T]) -> T:
        """What somebody finds who reads the stream; what is not read here is not there again."""
        try:
            return look(self._kept())
        except BaseException:
            self._file.close()
            raise

    def _kept(self) -> Iterator[bytes]:
        for piece in self._stream:
            self._file.write(piece)
            yield piece

    def again(self, *, lines_left_out: int = 0) -> Iterator[bytes]:
        """What was read, without its first lines; the file ends with it."""
        with self._file as file:
            file.seek(0)
            for _ in range(lines_left_out):
                file.readline()
            while piece := file.read(_PIECE_BYTES):
                yield piece
