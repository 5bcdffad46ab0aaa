"""How many plain bytes a stored byte may become.

What belongs here: counting both, and the limit. What does not: unpacking (`compression`, `zip_member`).
"""

from collections.abc import Iterable, Iterator

from ingestion_pipeline.errors import UnreadableFile

# Unpacking takes bounded memory, so a bomb costs time only, and this bounds the time for a stored megabyte. Deflate
# cannot pass 1,032. Tables reach a few hundred; only those of thousands of columns that hardly ever change pass
# 1,000, with zstd, xz and bzip2 (measured: 1,200 to 3,100) but not with gzip (500), so there is a way for them too.
_MOST_TIMES = 1000
# Below this, any ratio is fine: the time is short whatever it is.
_FREE_BYTES = 100 * 1024 * 1024


class Expansion:
    """Counts what one file had stored and what became of it."""

    def __init__(self) -> None:
        self._stored = self._plain = 0

    def reading(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces, counted as stored bytes. They must be small: what is not used yet counts too."""
        for piece in pieces:
            self._stored += len(piece)
            yield piece

    def made(self, size_bytes: int) -> None:
        """Count plain bytes, also those that nobody will see.

        Raises:
            UnreadableFile: There are too many for what was stored.
        """
        self._plain += size_bytes
        if self._plain > _FREE_BYTES and self._plain > _MOST_TIMES * self._stored:
            raise UnreadableFile(
                f"The file expands more than {_MOST_TIMES:,} times: looks like a bomb.",
                hint="If it is real data, compress it with gzip or upload it plain.",
                details={"stored_bytes": self._stored, "plain_bytes": self._plain},
            )
