"""The one file in a ZIP archive, from bytes that come once and in order.

What belongs here: what counts as a file, which archives are refused, and every check that the bytes are whole. What
does not: how headers are written (`zip_headers`), decompressors (`decoders`).

A ZIP archive is meant to be read from the directory at its end. Here the headers before each member are read, and
the directory afterwards must say the same: a member that is not listed, or listed otherwise, is never taken for the
archive's content, so this never reads what another reader would not.
"""

import re
import sys
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator

from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.decoders import Bzip2, Decoder, Inflate, Xz, Zstd, damaged
from ingestion_pipeline.formats.expansion import Expansion
from ingestion_pipeline.formats.text import slices
from ingestion_pipeline.formats.zip_headers import (
    END,
    LISTED,
    LOCAL,
    SPLIT,
    STORED,
    Facts,
    Member,
    Source,
    descriptor_fits,
    directory_entry,
    local_header,
    skip_end,
)

_DECODERS: dict[int, Callable[[], Decoder]] = {
    8: lambda: Inflate("zip", -zlib.MAX_WBITS),
    12: lambda: Bzip2("zip"),
    93: lambda: Zstd("zip"),
    95: lambda: Xz("zip"),
}
_OTHER_METHODS = {1: "Shrink", 6: "Implode", 9: "Deflate64", 14: "LZMA", 97: "WavPack", 98: "PPMd"}

# What is not a file of data: folders, and what macOS adds.
_IGNORED = re.compile(rb"(?s).*/|__MACOSX/.*|(.*/)?\.DS_Store")
_OFFICE = re.compile(
    rb"\[Content_Types\]\.xml|mimetype|_rels/\.rels|META-INF/manifest\.xml|(xl|word|ppt|docProps)/.+\.(xml|rels|bin)"
)
_SLICE_BYTES = 16 * 1024


def unzipped(chunks: Iterable[bytes], expansion: Expansion) -> Iterator[bytes]:
    """The plain bytes of the one file in an archive. That all of them came is sure at the iterator's end only.

    Raises:
        UnreadableFile: Not exactly one file, an Office document, encrypted, damaged, or cut off.
    """
    source = Source(expansion.reading(slices(chunks, _SLICE_BYTES)))
    signature = source.exactly(4)
    if signature == SPLIT:
        raise UnreadableFile(
            "The file is one part of a split ZIP archive.",
            hint="Upload the file that is in it, or an undivided archive.",
        )
    found: Member | None = None
    facts: Facts | None = None
    while signature == LOCAL:
        member = local_header(source)
        if _IGNORED.fullmatch(member.name):
            for _ in _content(source, member, expansion):
                pass
        else:
            _refuse_second(found, member)
            found, facts = member, (yield from _content(source, member, expansion))
        signature = source.exactly(4)
    _check_directory(source, signature, found, facts)
    if found is None:
        raise UnreadableFile("The ZIP archive holds no file.", hint="Upload an archive with one file of rows in it.")


def _refuse_second(first: Member | None, member: Member) -> None:
    if _OFFICE.fullmatch(member.name):
        raise UnreadableFile(
            "The file is not delimited text but an Office document (XLSX, DOCX, ODS or the like).",
            hint="Save the sheet as CSV and upload that.",
            details={"found": "an Office document", "member": member.shown},
        )
    if first is not None:
        raise UnreadableFile(
            f"The ZIP archive holds more than one file: '{first.shown}', '{member.shown}' and perhaps others.",
            hint="Upload each file by itself, plain or compressed.",
            details={"members": [first.shown, member.shown]},
        )


def _content(source: Source, member: Member, expansion: Expansion) -> Generator[bytes, None, Facts]:
    """The plain bytes of the member that comes next; returns what was found once it is checked."""
    _refuse_unreadable(member)
    start, crc, size = source.position, 0, 0
    for plain in _unpacked(source, member):
        expansion.made(len(plain))
        crc, size = zlib.crc32(plain, crc), size + len(plain)
        yield plain
    facts = Facts(crc, source.position - start, size)
    if not member.is_told_behind:
        if not facts.is_said(member.said):
            raise damaged("zip", f"the size or the checksum of '{member.shown}' is wrong")
    elif not descriptor_fits(source, facts):
        if member.method == STORED and size == 0:
            raise UnreadableFile(
                f"The ZIP archive stores '{member.shown}' uncompressed and does not say where it ends.",
                hint="Upload the file plain, or compress it (zip does so unless it is told not to).",
                details={"member": member.shown},
            )
        raise damaged("zip", f"the size or the checksum behind '{member.shown}' is wrong")
    return facts


def _refuse_unreadable(member: Member) -> None:
    if member.is_encrypted:
        raise UnreadableFile(
            f"The file '{member.shown}' in the ZIP archive is encrypted.",
            hint="Make the archive without a password.",
            details={"member": member.shown},
        )
    if member.method != STORED and member.method not in _DECODERS:
        method = _OTHER_METHODS.get(member.method, f"number {member.method}")
        raise UnreadableFile(
            f"The file '{member.shown}' in the ZIP archive is compressed with a method that is not read: {method}.",
            hint="Compress it with gzip, or choose Deflate as the archive's method.",
            details={"member": member.shown, "method": member.method},
        )


def _unpacked(source: Source, member: Member) -> Iterator[bytes]:
    left = member.said.stored_bytes
    if member.method == STORED:
        while left:
            part = source.some(left)
            left -= len(part)
            yield part
        return
    if member.is_told_behind:
        left = sys.maxsize
    decoder = _DECODERS[member.method]()
    while not decoder.eof:
        if not left:
            raise damaged("zip", f"'{member.shown}' does not end where it should")
        part = source.some(min(left, decoder.slice_bytes))
        left -= len(part)
        yield from decoder.feed(part)
    source.give_back(decoder.unused)


def _check_directory(source: Source, signature: bytes, member: Member | None, facts: Facts | None) -> None:
    """Read from the first signature behind the members to the archive's end."""
    listed = False
    while signature != END:
        if signature == LISTED:
            name, said = directory_entry(source)
            if not _IGNORED.fullmatch(name):
                if listed or member is None or facts is None or name != member.name or not facts.is_said(said):
                    raise damaged("zip", "its directory lists other files than it holds")
                listed = True
        else:
            skip_end(source, signature)
        signature = source.exactly(4)
    skip_end(source, signature)
    if member is not None and not listed:
        raise damaged("zip", f"its directory does not list '{member.shown}'")
    if not source.is_at_end():
        raise damaged("zip", "it goes on after its end")
