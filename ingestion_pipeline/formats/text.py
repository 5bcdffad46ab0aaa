"""Plain bytes to UTF-8 text: what is no text, the encoding, the byte order mark, the line ends.

What belongs here: bytes and encodings. What does not: cells and records.
"""

import codecs
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.encodings import guessed_encoding, is_utf8, unmarked_utf16

# The one wording of what is read, for every refusal.
UPLOAD_HINT = (
    "Upload delimited text, JSON or Parquet: plain, compressed with gzip, zstd, bzip2 or xz, or a ZIP archive with one "
    "file in it."
)

_HEAD_BYTES = 64 * 1024
_SLICE_BYTES = 512 * 1024
# Of delimited text. While a line is looked at, memory holds a dozen times of it.
MAX_LINE_BYTES = 4 * 1024 * 1024
SHOWN_BYTES = 64 * 1024
"""Of a line that is too long."""
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
_ODD_CONTROLS = re.compile(rb"[\x01-\x08\x0e-\x19]")
# More zero bytes than these are no accident in a text.
_MOST_ZEROS = 0.34
_JIS_ESCAPE = re.compile(rb"\x1b\$[@B]")
_QUOTED = re.compile(rb'"[^"]*+"')
_MARKS_BEFORE = re.compile(b"(?:" + codecs.BOM_UTF8 + b"){1,2}")
_LONE_CR = re.compile(rb"\r(?!\n)")
_LINE = re.compile(rb"([^\r\n]*)(\r\n|\n|\r)")
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
    return head[:size], _again(head, iterator)


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


class LongLine(NamedTuple):
    """A line that is too long to be held.

    Attributes:
        head: Its first bytes, at most `SHOWN_BYTES`.
        size_bytes: Of all of it, without its end.
    """

    head: bytes
    size_bytes: int


def line_blocks(
    stream: Iterable[bytes],
    *,
    block_bytes: int,
    block_lines: int,
    line_bytes: int = MAX_LINE_BYTES,
    too_long: Callable[[], UnreadableFile] | None = None,
) -> Iterator[bytes | LongLine]:
    """Stretches of whole lines of about so many bytes, or so many short lines; only the last may lack a line end.

    Args:
        line_bytes: A longer line, give or take half a megabyte, comes by itself and is not held.
        too_long: The error for such a line, raised before the rest of it is read; None: it is passed over.
    """
    parts: list[bytes] = []
    size = lines = behind = 0  # `behind`: bytes behind the last line end
    # A caller's large pieces must not make large blocks.
    pieces = slices(stream, min(block_bytes, _SLICE_BYTES))
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        lines += piece.count(b"\n")
        cut = piece.rfind(b"\n") + 1
        behind = len(piece) - cut if cut else behind + len(piece)
        if behind > line_bytes:
            if too_long is not None:
                raise too_long()
            data = b"".join(parts)
            if size > behind:
                yield data[: size - behind]
            long, rest = _passed_over(data[size - behind :], pieces)
            yield long
            parts, size, lines, behind = [rest], len(rest), rest.count(b"\n"), len(rest) - rest.rfind(b"\n") - 1
            continue
        # Without a line end in this piece there is nothing to cut that was not looked at before.
        if not cut or (size < block_bytes and lines < block_lines):
            continue
        data = b"".join(parts)
        yield data[: size - behind]
        parts, size, lines = [data[size - behind :]], behind, 0
    if last := b"".join(parts):
        yield last


def _passed_over(begun: bytes, pieces: Iterator[bytes]) -> tuple[LongLine, bytes]:
    """The line that has begun, and what stands behind it in the piece that ends it."""
    size = len(begun)
    for piece in pieces:
        end = piece.find(b"\n")
        if end >= 0:
            return LongLine(begun[:SHOWN_BYTES], size + end), piece[end + 1 :]
        size += len(piece)
    return LongLine(begun[:SHOWN_BYTES], size), b""


def encoding_of(head: bytes, wanted: str | None, *, lenient: bool = False) -> str | None:
    """The encoding by the byte order mark, else the wanted one; None: to be found out while decoding (`Decoded`).

    Args:
        lenient: A text may have some zero bytes.

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
        if not lenient or not _is_text_with_zeros(head):
            raise UnreadableFile(
                "The file is not text: it has zero bytes.",
                hint=UPLOAD_HINT,
            )
    if wanted is None and head.isascii() and _JIS_ESCAPE.search(head):
        return "iso2022_jp"
    return wanted


def _is_text_with_zeros(head: bytes) -> bool:
    text = head.rstrip(b"\0")
    return bool(text) and text.count(0) <= _MOST_ZEROS * len(text) and not _ODD_CONTROLS.search(text)


def _is_binary(head: bytes) -> bool:
    return any(byte < 9 or 13 < byte < 32 for byte in head)


class Decoded:
    """A stream in UTF-8 without a byte order mark, whatever it was written in.

    UTF-8 itself is passed on unchecked; whoever parses it must check it, and call `undecodable` on an error.

    Args:
        encoding: None: UTF-8, unless the first bytes beyond ASCII are none. Then it is guessed from them; what came
            before is the same in every encoding that is guessed.
        lenient: Zero bytes are left out, and what cannot be decoded is passed on as bytes that are no UTF-8.

    Attributes:
        encoding: As far as it is known.
        guessed: It was guessed.
        zeros: Zero bytes that were left out.

    Raises:
        UnreadableFile: There is no such encoding. While iterating: the bytes are not of it.
    """

    def __init__(self, chunks: Iterable[bytes], encoding: str | None, *, lenient: bool = False) -> None:
        self._chunks = chunks
        self._lenient, self.zeros = lenient, 0
        self._is_open = encoding is None
        self.encoding, self.guessed = encoding or "utf-8", False
        try:
            codecs.lookup(self.encoding)
        except LookupError as error:
            raise UnreadableFile(
                f"There is no encoding '{encoding}'.", hint="Correct format.encoding of the contract."
            ) from error

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._as_utf8():
            if not self._lenient or b"\0" not in piece:
                yield piece
                continue
            self.zeros += piece.count(0)
            yield piece.replace(b"\0", b"")

    def _as_utf8(self) -> Iterator[bytes]:
        head, stream = first_bytes(self._chunks, 2 * len(codecs.BOM_UTF8))
        if codecs.lookup(self.encoding).name != "utf-8":
            yield from self._recoded(stream)
            return
        # Programs that put one before a text do not all look whether there is one.
        marks = _MARKS_BEFORE.match(head)
        skip = marks.end() if marks else 0
        is_open = self._is_open and not skip
        for chunk in stream:
            piece, skip = chunk[skip:], max(0, skip - len(chunk))
            # `isascii` looks at eight bytes at a time; the search alone took an eighth of a validation.
            if is_open and not piece.isascii() and (odd := _BEYOND_ASCII.search(piece)):
                sample, rest = first_bytes(_again(piece, stream), odd.start() + _HEAD_BYTES)
                if is_utf8(sample[odd.start() :]):
                    yield from rest
                    return
                self.encoding, self.guessed = guessed_encoding(sample[odd.start() :]), True
                yield from self._recoded(rest)
                return
            yield piece

    def _recoded(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        errors = "surrogateescape" if self._lenient else "strict"
        decoder = codecs.getincrementaldecoder(self.encoding)(errors)
        try:
            for chunk in chunks:
                if text := decoder.decode(chunk):
                    yield text.encode(errors=errors)
            if text := decoder.decode(b"", final=True):
                yield text.encode(errors=errors)
        except UnicodeError as error:
            raise undecodable(self.encoding) from error


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
    """The stream with LF line ends where lone CRs end lines (old Mac programs write them), too.

    What stands in quotes does not count: it is line breaks inside cells.
    """
    outside = _QUOTED.sub(b"", head)
    lone = len(_LONE_CR.findall(outside))
    if not lone:
        return chunks
    if b"\n" not in outside:
        return (chunk.replace(b"\r", b"\n") for chunk in chunks)
    if outside.count(b"\r\r\n") == lone == outside.count(b"\n"):
        # A program for Windows wrote CRLF for the LF of a CRLF.
        return (chunk.replace(b"\r", b"") for chunk in chunks)
    # Some lines end so, others not. What follows is replaced without looking for quotes: only where none holds one.
    are_told_apart = len(_LONE_CR.findall(head)) == lone and b'"' not in outside[: outside.rfind(b"\n") + 1]
    return _with_lone_cr_replaced(chunks) if are_told_apart and _ends_rows(outside) else chunks


def _ends_rows(text: bytes) -> bool:
    """Whether every line that a lone CR ends has as many delimiters as most lines."""
    lines = _LINE.findall(text)
    for delimiter in (b",", b";", b"\t", b"|"):
        counts = Counter(line.count(delimiter) for line, _ in lines if line)
        most = counts.most_common(1)[0][0] if counts else 0
        if most and all(line.count(delimiter) == most for line, end in lines if end == b"\r"):
            return True
    return False


def _with_lone_cr_replaced(chunks: Iterable[bytes]) -> Iterator[bytes]:
    held = b""
    for chunk in chunks:
        piece = held + chunk
        held = b"\r" if piece.endswith(b"\r") else b""
        if piece := _LONE_CR.sub(b"\n", piece.removesuffix(held)):
            yield piece
    if held:
        yield b"\n"
