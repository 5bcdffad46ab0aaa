"""ZIP archives for tests: by the standard library where it can make them, else put together here.

What belongs here: making archives. What does not: reading them.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

LONG = 0xFFFFFFFF


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive as most programs write it: sizes in the headers."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


class _Pipe(io.RawIOBase):
    """A file in which nobody can go back, so that sizes come behind the data."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self.data += data
        return len(data)


def described(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED, *, zip64: bool = False) -> bytes:
    """An archive with data descriptors, as programs write it into a pipe."""
    out = _Pipe()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            if name.endswith("/"):
                archive.writestr(name, data)
                continue
            with archive.open(name, "w", force_zip64=zip64) as member:
                member.write(data)
    return bytes(out.data)


def one_file(
    data: bytes,
    *,
    name: bytes = b"a.csv",
    method: int = 8,
    compressed: bytes | None = None,
    flags: int = 0,
    zip64: bool = False,
    descriptor: str = "",
    listed_as: bytes | None = None,
    extra_end: bytes = b"",
) -> bytes:
    """An archive of one member, byte by byte.

    Args:
        compressed: The member's stored bytes, where the standard library does not make them.
        descriptor: A `struct` format of CRC and sizes behind the data; `4s` at its beginning is the signature.
        listed_as: The name in the directory.
    """
    if compressed is None:
        compressed = _compressed(data, method)
    crc = zlib.crc32(data)
    short = (LONG, LONG) if zip64 else (len(compressed), len(data))
    extra = struct.pack("<HHQQ", 1, 16, len(data), len(compressed)) if zip64 else b""
    told = (crc, *short) if not descriptor else (0, 0, 0)
    flags |= 8 if descriptor else 0
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 45, flags, method, 0, 0, *told, len(name), len(extra))
    behind = b""
    if descriptor:
        signature = (b"PK\7\x08",) if "4s" in descriptor else ()
        behind = struct.pack(descriptor, *signature, crc, len(compressed), len(data))
    body = local + name + extra + compressed + behind
    listed = name if listed_as is None else listed_as
    directory = struct.pack(
        "<4s6H3I5H2I", b"PK\1\2", 45, 45, flags, method, 0, 0, crc, *short, len(listed), len(extra), 0, 0, 0, 0, 0
    )
    directory += listed + extra
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(directory), len(body), 0)
    if zip64:
        end_64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(directory), len(body))
        end_64 += struct.pack("<4sIQI", b"PK\6\7", 0, len(body) + len(directory), 1)
        end = end_64 + end
    return body + directory + extra_end + end


def _compressed(data: bytes, method: int) -> bytes:
    if method == zipfile.ZIP_STORED:
        return data
    if method == zipfile.ZIP_BZIP2:
        import bz2

        return bz2.compress(data)
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()
