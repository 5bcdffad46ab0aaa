"""Stored bytes to plain bytes: gzip and zstd, told by their content, never by the name.

What belongs here: streaming decompression in bounded memory, and what a damaged stream means. What does
not: archives with members, and formats that compress inside themselves.
"""

import zlib
from collections.abc import Iterable, Iterator

import zstandard

from ingestion_pipeline.errors import UnreadableFile

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_OUTPUT_BYTES = 1024 * 1024
# A zstd frame of a few bytes may stand for a hundred megabytes, and its decompressor has no output limit:
# it is fed in small slices that grow only while the output stays moderate.
_SLICE_BYTES, _MAX_SLICE_BYTES, _MODERATE_RATIO = 1024, 256 * 1024, 64
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
    for chunk in chunks:
        data = chunk
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
    size, fresh = _SLICE_BYTES, True
    for chunk in chunks:
        position = 0
        while position < len(chunk):
            piece = chunk[position : position + size]
            position += len(piece)
            while piece:
                if frame.eof:
                    frame = factory.decompressobj()
                try:
                    plain = frame.decompress(piece)
                except zstandard.ZstdError as error:
                    raise _damaged("zstd", str(error)) from error
                fresh = False
                moderate = len(plain) <= len(piece) * _MODERATE_RATIO
                size = min(size * 2, _MAX_SLICE_BYTES) if moderate else _SLICE_BYTES
                piece = frame.unused_data if frame.eof else b""
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
