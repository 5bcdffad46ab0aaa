"""The headers of a ZIP archive, read from a stream.

What belongs here: bytes to fields and back, as PKWARE's APPNOTE.TXT has them (4.3 and 4.4). What does not: which
archives are read, and whether their headers agree (`zip_member`).
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from ingestion_pipeline.formats.decoders import cut_off, damaged

LOCAL = b"PK\x03\x04"
LISTED = b"PK\x01\x02"
END = b"PK\x05\x06"
END_64 = b"PK\x06\x06"
LOCATOR_64 = b"PK\x06\x07"
_DESCRIPTOR = b"PK\x07\x08"
SPLIT = _DESCRIPTOR  # the same, at the very beginning

_LOCAL_FIELDS = struct.Struct("<2xHH4xIIIHH")
_LISTED_FIELDS = struct.Struct("<4xHH4xIIIHHH12x")
_END_FIELDS = struct.Struct("<16xH")
_U64 = struct.Struct("<Q")
_EXTRA_FIELD = struct.Struct("<HH")
_DESCRIPTOR_32, _DESCRIPTOR_64 = struct.Struct("<III"), struct.Struct("<IQQ")
_MOST_DESCRIPTOR_BYTES = len(_DESCRIPTOR) + _DESCRIPTOR_64.size
_ZIP64_FIELD = 1
_MOST_32 = 0xFFFFFFFF

_ENCRYPTED_FLAGS = 1 | 1 << 6 | 1 << 13
_TOLD_BEHIND_FLAG = 1 << 3
_UTF8_FLAG = 1 << 11
STORED, _AES = 0, 99
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Facts:
    """What must be the same wherever it is said."""

    crc: int
    stored_bytes: int
    plain_bytes: int

    def is_said(self, said: "Facts") -> bool:
        """Some writers (macOS) have no ZIP64 and write the low 32 bits of what is larger."""
        return said.crc == self.crc and all(
            theirs in (ours, ours & _MOST_32)
            for theirs, ours in ((said.stored_bytes, self.stored_bytes), (said.plain_bytes, self.plain_bytes))
        )


@dataclass(frozen=True, slots=True)
class Member:
    """A member as its header before the data has it; `said` is to be believed unless it is told behind the data."""

    name: bytes
    flags: int
    method: int
    said: Facts

    @property
    def is_told_behind(self) -> bool:
        return bool(self.flags & _TOLD_BEHIND_FLAG)

    @property
    def is_encrypted(self) -> bool:
        return bool(self.flags & _ENCRYPTED_FLAGS) or self.method == _AES

    @property
    def shown(self) -> str:
        """The name for people: names are only ever shown, and may hold anything."""
        text = self.name.decode("utf-8" if self.flags & _UTF8_FLAG else "cp437", errors="replace")
        cut = text[:_SHOWN_CHARACTERS] + "…" if len(text) > _SHOWN_CHARACTERS else text
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


class Source:
    """Bytes by number, from pieces of any size.

    Attributes:
        position: How many were taken and not given back.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._piece = b""
        self._at = 0
        self.position = 0

    def is_at_end(self) -> bool:
        """Nothing follows."""
        while self._at == len(self._piece):
            piece = next(self._pieces, None)
            if piece is None:
                return True
            self._piece, self._at = piece, 0
        return False

    def some(self, most: int) -> bytes:
        """At least one of the next bytes, as many as are at hand.

        Raises:
            UnreadableFile: There are none.
        """
        if self.is_at_end():
            raise cut_off("zip")
        part = self._piece[self._at : self._at + most]
        self._at += len(part)
        self.position += len(part)
        return part

    def exactly(self, count: int) -> bytes:
        """The next `count` bytes."""
        parts = []
        while count:
            parts.append(self.some(count))
            count -= len(parts[-1])
        return b"".join(parts)

    def skip(self, count: int) -> None:
        """Leave the next `count` bytes out."""
        while count:
            count -= len(self.some(count))

    def give_back(self, data: bytes) -> None:
        """Put bytes that were taken last before the next ones."""
        self._piece, self._at = data + self._piece[self._at :], 0
        self.position -= len(data)


def local_header(source: Source) -> Member:
    """The header before a member, whose signature was just read."""
    flags, method, crc, stored, plain, name_length, extra_length = _LOCAL_FIELDS.unpack(
        source.exactly(_LOCAL_FIELDS.size)
    )
    name, extra = source.exactly(name_length), source.exactly(extra_length)
    return Member(name, flags, method, Facts(crc, *_sizes(stored, plain, extra)))


def descriptor_fits(source: Source, facts: Facts) -> bool:
    """Read the sizes behind the data: with or without a signature, of 32 or 64 bits, and nothing says which.

    So it is whichever says what was found and is followed by the next header.
    """
    crc, stored, plain = facts.crc, facts.stored_bytes, facts.plain_bytes
    long = _DESCRIPTOR_64.pack(crc, stored, plain)
    short = _DESCRIPTOR_32.pack(crc, stored & _MOST_32, plain & _MOST_32)
    ahead = source.exactly(_MOST_DESCRIPTOR_BYTES + 4)  # the directory is longer than this
    for form in (_DESCRIPTOR + long, _DESCRIPTOR + short, long, short):
        rest = ahead[len(form) :]
        if ahead.startswith(form) and rest.startswith((LOCAL, LISTED)):
            source.give_back(rest)
            return True
    return False


def directory_entry(source: Source) -> tuple[bytes, Facts]:
    """The name and the facts of the entry whose signature was just read."""
    _, _, crc, stored, plain, name_length, extra_length, comment_length = _LISTED_FIELDS.unpack(
        source.exactly(_LISTED_FIELDS.size)
    )
    name, extra = source.exactly(name_length), source.exactly(extra_length)
    source.skip(comment_length)
    return name, Facts(crc, *_sizes(stored, plain, extra))


def skip_end(source: Source, signature: bytes) -> None:
    """Pass over one of the records at the end whose signature was just read."""
    if signature == END:
        source.skip(_END_FIELDS.unpack(source.exactly(_END_FIELDS.size))[0])
    elif signature == END_64:
        source.skip(_U64.unpack(source.exactly(_U64.size))[0])
    elif signature == LOCATOR_64:
        source.skip(16)
    else:
        raise damaged("zip", "its parts do not follow each other as they should")


def _sizes(stored: int, plain: int, extra: bytes) -> tuple[int, int]:
    """Both sizes, from the ZIP64 field where a header has no room for them."""
    if _MOST_32 not in (stored, plain):
        return stored, plain
    at, field = 0, b""
    while at + _EXTRA_FIELD.size <= len(extra):
        tag, length = _EXTRA_FIELD.unpack_from(extra, at)
        at += _EXTRA_FIELD.size
        if tag == _ZIP64_FIELD:
            field = extra[at : at + length]
            break
        at += length
    values = [value for (value,) in _U64.iter_unpack(field[: len(field) // 8 * 8])]
    if plain == _MOST_32 and values:
        plain = values.pop(0)
    if stored == _MOST_32 and values:
        stored = values.pop(0)
    return stored, plain
