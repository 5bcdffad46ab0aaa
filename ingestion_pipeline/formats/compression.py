"""Stored bytes to plain bytes: gzip and zstd, told by their content, never by the name.

What belongs here: streaming decompression in bounded memory, and what a damaged stream means. What does
not: archives with members, and formats that compress inside themselves.
"""

import zlib
from collections.abc import Iterable, Iterator

import zstandard

from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.text import slices

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_OUTPUT_BYTES = 1024 * 1024
# What a gzip member leaves of its slice is copied for the next one, and there may be thousands.
_GZIP_SLICE_BYTES = 64 * 1024
# The zstd decompressor has no output limit, and a block of 4 bytes may stand for 128 KiB: a slice of this
# size becomes 16 MiB at most. It costs no time that could be measured.
_ZSTD_SLICE_BYTES = 512
_MAX_WINDOW_BYTES = 128 * 1024 * 1024


def compression_of(head: bytes) -> str | None:
    """`gzip`, `zstd` or None, by the first bytes."""
    if head.startswith(_GZIP):
        return "gzip"
    return "zstd" if head.startswith(_ZSTD) else None


def decompressed(chunks: Iterable[bytes], compression: str | None) -> Iterator[bytes]:
    """The plain bytes of a stream; several gzip members or zstd frames in a row are one stream.

    Raises:
        UnreadableFile: Damaged or cut off.
    """
    if compression == "gzip":
        yield from _gunzipped(chunks)
    elif compression == "zstd":
        yield from _unzstded(chunks)
    else:
        yield from chunks


def _gunzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(zlib.MAX_WBITS | 16)
    started = False
    for piece in slices(chunks, _GZIP_SLICE_BYTES):
        data = piece
        while data:
            if member.eof:
                # Zero bytes after the last member are padding (tar and tapes write it).
                data = data.lstrip(b"\0") if not started else data
                if not data:
                    break
                member, started = zlib.decompressobj(zlib.MAX_WBITS | 16), True
            try:
                plain = member.decompress(data, _OUTPUT_BYTES)
            except zlib.error as error:
                raise _damaged("gzip", str(error)) from error
            started = not member.eof
            data = member.unused_data if member.eof else member.unconsumed_tail
            if plain:
                yield plain
    if not member.eof:
        raise _cut_off("gzip")


def _unzstded(chunks: Iterable[bytes]) -> Iterator[bytes]:
    factory = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
    frame = factory.decompressobj()
    fresh = True
    for piece in slices(chunks, _ZSTD_SLICE_BYTES):
        data = piece
        while data:
            if frame.eof:
                frame = factory.decompressobj()
            try:
                plain = frame.decompress(data)
            except zstandard.ZstdError as error:
                raise _damaged("zstd", str(error)) from error
            fresh = False
            data = frame.unused_data if frame.eof else b""
            if plain:
                yield plain
    if fresh or not frame.eof:
        raise _cut_off("zstd")


def _damaged(kind: str, why: str) -> UnreadableFile:
    return UnreadableFile(
        f"The {kind} stream is damaged: {why}.", hint="Compress the file again and upload it.", details={"kind": kind}
    )


def _cut_off(kind: str) -> UnreadableFile:
    return UnreadableFile(
        f"The {kind} stream ends before its end: the file was cut off.",
        hint="Upload the whole file again.",
        details={"kind": kind},
    )
