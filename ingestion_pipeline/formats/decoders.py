"""One compressed stream at a time, step by step: the libraries' decompressors behind one small interface.

What belongs here: how much each library may make of one step, and its errors in our words. What does not: what
may follow a stream (`compression`), and archives (`zip_member`).
"""

import bz2
import lzma
import zlib
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

import zstandard

from ingestion_pipeline.errors import UnreadableFile

_OUTPUT_BYTES = 1024 * 1024
# What a stream leaves of its slice is copied for the next one, and there may be a stream every few bytes.
_SLICE_BYTES = 16 * 1024
# The zstd decompressor has no output limit, and a block of 4 bytes may stand for 128 KiB: a slice of this
# size becomes 16 MiB at most. It costs no time that could be measured.
_ZSTD_SLICE_BYTES = 512
_ZSTD_WINDOW_BYTES = 128 * 1024 * 1024
# `xz -9` asks for 65 MiB, more than any other preset. Of this, only what the text fills is ever touched.
_XZ_MEMORY_MIB = 68


class Decoder(Protocol):
    """A decompressor of one stream. `feed` must be used up before `eof` and `unused` mean anything.

    Attributes:
        slice_bytes: No more than this may be fed at a time.
    """

    slice_bytes: int

    @property
    def eof(self) -> bool:
        """The stream came to its end."""
        ...

    @property
    def unused(self) -> bytes:
        """What was fed last and lies behind the stream's end; nothing before the end."""
        ...

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The plain bytes that the data gives, in bounded pieces.

        Raises:
            UnreadableFile: Damaged.
        """
        ...


class _Inner(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


_Library = TypeVar("_Library", bound=_Inner)


class _Wrapped(Generic[_Library]):
    """A library's decompressor: all of them know their end by the same two names."""

    def __init__(self, kind: str, inner: _Library) -> None:
        self._kind, self._inner = kind, inner

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused(self) -> bytes:
        return self._inner.unused_data


class Inflate(_Wrapped["zlib._Decompress"]):
    """Deflate; `wbits` says in which wrapping, as in `zlib`."""

    slice_bytes = _SLICE_BYTES

    def __init__(self, kind: str, wbits: int) -> None:
        super().__init__(kind, zlib.decompressobj(wbits))

    def feed(self, data: bytes) -> Iterator[bytes]:
        full = True
        # A full piece of output may have a rest, also where no input is left.
        while not self._inner.eof and (data or full):
            try:
                plain = self._inner.decompress(data, _OUTPUT_BYTES)
            except zlib.error as error:
                raise damaged(self._kind, str(error)) from error
            full = len(plain) == _OUTPUT_BYTES
            data = self._inner.unconsumed_tail
            if plain:
                yield plain


_KeepsInput = TypeVar("_KeepsInput", bz2.BZ2Decompressor, lzma.LZMADecompressor)


class _Buffering(_Wrapped[_KeepsInput]):
    """What the standard library's bzip2 and xz have in common: they keep the input that they have not used."""

    slice_bytes = _SLICE_BYTES

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            plain = self._step(data)
            if plain:
                yield plain
            if self._inner.eof or self._inner.needs_input:
                return
            data = b""

    def _step(self, data: bytes) -> bytes:
        raise NotImplementedError


class Bzip2(_Buffering[bz2.BZ2Decompressor]):
    """One bzip2 stream."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind, bz2.BZ2Decompressor())

    def _step(self, data: bytes) -> bytes:
        try:
            return self._inner.decompress(data, _OUTPUT_BYTES)
        except (OSError, ValueError) as error:
            raise damaged(self._kind, str(error)) from error


class Xz(_Buffering[lzma.LZMADecompressor]):
    """One xz stream; not the legacy .lzma, which has nothing to tell damage by."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind, lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_MIB * 1024 * 1024))

    def _step(self, data: bytes) -> bytes:
        try:
            plain = self._inner.decompress(data, _OUTPUT_BYTES)
        except lzma.LZMAError as error:
            # The limit has no class of its own. Nor may it be taken for damage: the file is whole.
            if "memory" in str(error).lower():
                raise UnreadableFile(
                    f"The xz stream needs more than {_XZ_MEMORY_MIB} MiB of memory to be unpacked.",
                    hint="Compress the file with a smaller dictionary (xz -9 or less) or with zstd.",
                    details={"kind": self._kind, "limit_mib": _XZ_MEMORY_MIB},
                ) from error
            raise damaged(self._kind, str(error)) from error
        # The library reads on where it cannot check; then nobody would notice damage.
        if self._inner.check != lzma.CHECK_UNKNOWN and not lzma.is_check_supported(self._inner.check):
            raise damaged(self._kind, f"it has an unknown kind of checksum ({self._inner.check})")
        return plain


class Zstd(_Wrapped["zstandard.ZstdDecompressionObj"]):
    """One zstd frame."""

    slice_bytes = _ZSTD_SLICE_BYTES

    def __init__(self, kind: str) -> None:
        super().__init__(kind, zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj())

    def feed(self, data: bytes) -> Iterator[bytes]:
        try:
            plain = self._inner.decompress(data)
        except zstandard.ZstdError as error:
            raise damaged(self._kind, str(error)) from error
        if plain:
            yield plain


def damaged(kind: str, why: str) -> UnreadableFile:
    """The error for bytes that are not what they should be."""
    return UnreadableFile(
        f"The {_called(kind)} is damaged: {why}.",
        hint="Compress the file again and upload it.",
        details={"kind": kind},
    )


def cut_off(kind: str) -> UnreadableFile:
    """The error for bytes that are missing at the end."""
    return UnreadableFile(
        f"The {_called(kind)} ends before its end: the file was cut off.",
        hint="Upload the whole file again.",
        details={"kind": kind},
    )


def _called(kind: str) -> str:
    return "ZIP archive" if kind == "zip" else f"{kind} stream"
