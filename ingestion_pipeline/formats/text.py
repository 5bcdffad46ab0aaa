"""Plain bytes to UTF-8 text: what is no text, the encoding, the byte order mark, the line ends.

What belongs here: bytes and encodings. What does not: cells and records.
"""

import codecs
import re
from collections.abc import Callable, Iterable, Iterator

from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.encodings import guessed_encoding, unmarked_utf16

# The one wording of what is read, for every refusal.
UPLOAD_HINT = (
    "Upload delimited text, JSON or Parquet: plain, compressed with gzip, zstd, bzip2 or xz, or a ZIP archive with one "
    "file in it."
)

_HEAD_BYTES = 64 * 1024
_SLICE_BYTES = 512 * 1024
# A record without an end in this much text is none.
MAX_LINE_BYTES = 64 * 1024 * 1024
_QUOTED = re.compile(rb'"[^"]*+"')
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_KNOWN_BINARY = (
    (b"PAR1", "Parquet"),
    (b"%PDF", "PDF"),
    (b"BZh", "damaged bzip2"),
    (b"]\x00\x00", "legacy .lzma, whose damage nobody could notice"),
    (b"\x1f\x9d", "compress (.Z)"),
    (b"\x04\x22\x4d\x18", "LZ4"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3", "an SQLite database"),
    (b"Obj\x01", "Avro"),
    (b"ORC", "ORC"),
)


def first_bytes(chunks: Iterable[bytes], size: int = _HEAD_BYTES) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes of a stream, and the whole stream again."""
    iterator = iter(chunks)
    parts: list[bytes] = []
    length = 0
    for chunk in iterator:
        parts.append(chunk)
        length += len(chunk)
        if length >= size:
            break
    head = b"".join(parts)
    return head, _again(head, iterator)


def _again(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def slices(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The stream in pieces of at most `size` bytes."""
    for chunk in chunks:
        if len(chunk) <= size:
            yield chunk
        else:
            yield from (chunk[start : start + size] for start in range(0, len(chunk), size))


def line_blocks(
    stream: Iterable[bytes], *, block_bytes: int, block_lines: int, too_long: Callable[[], UnreadableFile]
) -> Iterator[bytes]:
    """Stretches of whole lines of about so many bytes, or so many short lines; only the last may lack a line end.

    Raises:
        UnreadableFile: `too_long()`, for a line of more than `MAX_LINE_BYTES`.
    """
    parts: list[bytes] = []
    size = lines = 0
    # A caller's large pieces must not make large blocks.
    for piece in slices(stream, min(block_bytes, _SLICE_BYTES)):
        parts.append(piece)
        size += len(piece)
        ends = piece.count(b"\n")
        lines += ends
        if size > MAX_LINE_BYTES and not lines:
            raise too_long()
        # Without a line end in this piece there is nothing to cut that was not looked at before.
        if not ends or (size < block_bytes and lines < block_lines):
            continue
        data = b"".join(parts)
        cut = data.rfind(b"\n") + 1
        yield data[:cut]
        parts, size, lines = [data[cut:]], len(data) - cut, 0
    if last := b"".join(parts):
        yield last


def encoding_of(head: bytes, wanted: str | None) -> str | None:
    """The encoding by the byte order mark, else the wanted one; None: to be found out while decoding (`Decoded`).

    Raises:
        UnreadableFile: The bytes are a known binary format or no text at all.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding
    for magic, what in _KNOWN_BINARY:
        # A text may begin with the letters of a magic number: the ORC of "ORCHARD,…" has no odd byte after it.
        if head.startswith(magic) and (not magic.isalnum() or _is_binary(head)):
            raise UnreadableFile(
                f"The file is not delimited text but {what}.",
                hint=UPLOAD_HINT,
                details={"found": what},
            )
    multibyte = (wanted or "").lower().replace("_", "-").startswith(("utf-16", "utf-32"))
    if not multibyte and b"\0" in head:
        if wanted is None and (found := unmarked_utf16(head)) is not None:
            return found
        raise UnreadableFile(
            "The file is not text: it has zero bytes.",
            hint=UPLOAD_HINT,
        )
    return wanted


def _is_binary(head: bytes) -> bool:
    return any(byte < 9 or 13 < byte < 32 for byte in head)


class Decoded:
    """A stream in UTF-8 without a byte order mark, whatever it was written in.

    UTF-8 itself is passed on unchecked; whoever parses it must check it, and call `undecodable` on an error.

    Args:
        encoding: None: UTF-8, unless the first bytes beyond ASCII are none. Then it is guessed from them; what came
            before is the same in every encoding that is guessed.

    Attributes:
        encoding: As far as it is known.
        guessed: It was guessed.

    Raises:
        UnreadableFile: There is no such encoding. While iterating: the bytes are not of it.
    """

    def __init__(self, chunks: Iterable[bytes], encoding: str | None) -> None:
        self._chunks = chunks
        self._is_open = encoding is None
        self.encoding, self.guessed = encoding or "utf-8", False
        try:
            codecs.lookup(self.encoding)
        except LookupError as error:
            raise UnreadableFile(
                f"There is no encoding '{encoding}'.", hint="Correct format.encoding of the contract."
            ) from error

    def __iter__(self) -> Iterator[bytes]:
        head, stream = first_bytes(self._chunks, len(codecs.BOM_UTF8))
        if codecs.lookup(self.encoding).name != "utf-8":
            yield from self._recoded(stream)
            return
        skip = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
        is_open = self._is_open and not skip
        for chunk in stream:
            piece = chunk[skip:]
            skip = 0
            if is_open and not piece.isascii():
                is_open = False
                if not _is_damaged_or_utf8(piece):
                    self.encoding, self.guessed = guessed_encoding(piece), True
                    yield from self._recoded(_again(piece, stream))
                    return
            yield piece

    def _recoded(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder(self.encoding)()
        try:
            for chunk in chunks:
                if text := decoder.decode(chunk):
                    yield text.encode()
            if text := decoder.decode(b"", final=True):
                yield text.encode()
        except UnicodeError as error:
            raise undecodable(self.encoding) from error


def _is_damaged_or_utf8(piece: bytes) -> bool:
    """Whether it is UTF-8, perhaps cut off inside a character; or was, until a byte that cannot be read."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(piece)
    except UnicodeDecodeError as error:
        return not piece[: error.start].isascii()
    return True


def undecodable(encoding: str, line: int | None = None) -> UnreadableFile:
    """The error for bytes that are not of the encoding, near a line if that is known."""
    where = f" on line {line}" if line is not None else ""
    return UnreadableFile(
        f"The file is not {encoding} text: a byte{where} cannot be read.",
        hint="Save the file as UTF-8, or name its encoding in the contract (format.encoding, for example cp1252).",
        details={"encoding": encoding, "line": line},
    )


def line_end_of(head: bytes) -> str | None:
    """`CRLF`, `LF`, `CR` or `mixed`."""
    crlf = head.count(b"\r\n")
    counts = {"CRLF": crlf, "LF": head.count(b"\n") - crlf, "CR": head.count(b"\r") - crlf}
    found = [name for name, count in counts.items() if count]
    return found[0] if len(found) == 1 else ("mixed" if found else None)


def with_line_feeds(chunks: Iterable[bytes], head: bytes) -> Iterable[bytes]:
    """The stream with LF line ends where lone CRs end the lines (old Mac programs write them).

    What stands in quotes does not count: it is line breaks inside cells.
    """
    outside = _QUOTED.sub(b"", head)
    if b"\r" in outside and b"\n" not in outside:
        return (chunk.replace(b"\r", b"\n") for chunk in chunks)
    return chunks
