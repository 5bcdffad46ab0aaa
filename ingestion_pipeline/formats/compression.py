"""Stored bytes to plain bytes: gzip, zstd, bzip2, xz and ZIP, told by their content, never by the name.

What belongs here: telling them apart, and streams of one compression in a row. What does not: one stream's
decompressor (`decoders`), members of archives (`zip_member`), and formats that compress inside themselves.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.decoders import Bzip2, Decoder, Inflate, Xz, Zstd, cut_off, damaged
from ingestion_pipeline.formats.expansion import Expansion
from ingestion_pipeline.formats.text import UPLOAD_HINT, slices
from ingestion_pipeline.formats.zip_member import unzipped

_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),  # an archive of nothing
    (b"PK\x07\x08", "zip"),  # the first part of a split archive
)
# A text may begin with "BZh1". What follows in bzip2, the start of a block or the end, no text has.
_BZIP2 = b"BZh"
_BZIP2_NEXT = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")


@dataclass(frozen=True, slots=True)
class _Streams:
    """What is special about streams of a compression.

    Attributes:
        decoder: Makes one for the next stream.
        padding_unit: Zero bytes in multiples of this may follow a stream; 0 if none may.
    """

    decoder: Callable[[], Decoder]
    padding_unit: int = 0


_STREAMS = {
    "gzip": _Streams(lambda: Inflate("gzip", zlib.MAX_WBITS | 16), padding_unit=1),  # tar and tapes write it
    "zstd": _Streams(lambda: Zstd("zstd")),
    "bzip2": _Streams(lambda: Bzip2("bzip2")),
    "xz": _Streams(lambda: Xz("xz"), padding_unit=4),
}


def compression_of(head: bytes) -> str | None:
    """`gzip`, `zstd`, `bzip2`, `xz`, `zip` or None, by the first bytes."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    after = head[4:10]
    is_bzip2 = head.startswith(_BZIP2) and head[3:4] in b"123456789" and any(n.startswith(after) for n in _BZIP2_NEXT)
    return "bzip2" if is_bzip2 and len(head) > len(_BZIP2) else None


def decompressed(chunks: Iterable[bytes], compression: str | None) -> Iterator[bytes]:
    """The plain bytes of a stream; several gzip members, zstd frames and so on in a row are one stream.

    Raises:
        UnreadableFile: Damaged, cut off, or much larger than anything sensible; of a ZIP archive, also when it
            does not hold exactly one file.
    """
    if compression is None:
        yield from chunks
        return
    expansion = Expansion()
    if compression == "zip":
        yield from unzipped(chunks, expansion)
        return
    for plain in _in_a_row(chunks, compression, expansion):
        expansion.made(len(plain))
        yield plain


def refuse_nested(head: bytes, compression: str) -> None:
    """Look at the first plain bytes.

    Raises:
        UnreadableFile: They are compressed again.
    """
    inner = compression_of(head)
    if inner is not None:
        called = "a ZIP archive or an Office document" if inner == "zip" else inner
        raise UnreadableFile(
            f"The file is not delimited text but {called} inside {compression}.",
            hint=UPLOAD_HINT,
            details={"found": inner, "inside": compression},
        )


def _in_a_row(chunks: Iterable[bytes], kind: str, expansion: Expansion) -> Iterator[bytes]:
    streams = _STREAMS[kind]
    unit, padding = streams.padding_unit, 0
    decoder = streams.decoder()
    for piece in expansion.reading(slices(chunks, decoder.slice_bytes)):
        data = piece
        while data:
            if decoder.eof:
                if unit:
                    rest = data.lstrip(b"\0")
                    padding += len(data) - len(rest)
                    data = rest
                if not data:
                    break
                if unit and padding % unit:
                    raise damaged(kind, f"{padding} zero bytes between streams are not a multiple of {unit}")
                decoder, padding = streams.decoder(), 0
            yield from decoder.feed(data)
            data = decoder.unused if decoder.eof else b""
    if not decoder.eof or (unit and padding % unit):
        raise cut_off(kind)
