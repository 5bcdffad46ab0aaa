"""Compressed files: the plain bytes come back whole, or one clear error does, whatever was stored."""

import bz2
import gzip
import lzma
import random
import struct
import time
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats import open_rows
from ingestion_pipeline.formats.compression import compression_of, decompressed
from ingestion_pipeline_tests.unit.archives import described, one_file, zipped
from ingestion_pipeline_tests.unit.contracts import contract_of, in_pieces

ABC = contract_of({name: {"type": "string", "nullable": True} for name in "bc"}, format={"delimiter": ","})
TEXT = b"at,b,c\n" + b"".join(f"{n},x,y\n".encode() for n in range(200))


def checked_zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


WHOLE = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zstd": checked_zstd,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": one_file,
    "zip stored": lambda data: one_file(data, method=0),
    "zip bzip2": lambda data: one_file(data, method=12),
    "zip with a descriptor": lambda data: described({"a.csv": data}),
    "zip64": lambda data: one_file(data, zip64=True),
    "zip64 with a descriptor": lambda data: described({"a.csv": data}, zip64=True),
    "zip zstd": lambda data: one_file(data, method=93, compressed=checked_zstd(data)),
    "zip xz": lambda data: one_file(data, method=95, compressed=lzma.compress(data)),
}
IN_A_ROW = {
    "gzip members": lambda data: WHOLE["gzip"](data[:500]) + WHOLE["gzip"](data[500:]),
    "gzip padded": lambda data: WHOLE["gzip"](data) + b"\0" * 101,
    "zstd frames": lambda data: zstandard.compress(data[:500]) + zstandard.compress(data[500:]),
    "bzip2 streams": lambda data: bz2.compress(data[:500]) + bz2.compress(data[500:]),
    "xz streams": lambda data: lzma.compress(data[:500]) + lzma.compress(data[500:]),
    "xz streams padded": lambda data: lzma.compress(data[:500]) + b"\0" * 8 + lzma.compress(data[500:]) + b"\0" * 4,
    "zip with what macOS adds": lambda data: zipped(
        {"d/": b"", "d/.DS_Store": b"Bud1", "d/a.csv": data, "__MACOSX/d/._a.csv": b"\0\5\x16\7"}
    ),
    "zip with what macOS adds, with descriptors": lambda data: described(
        {"d/": b"", "__MACOSX/d/._a.csv": b"\0\5\x16\7", "d/a.csv": data, ".DS_Store": b"Bud1"}
    ),
}
KINDS = WHOLE | IN_A_ROW


def plain(data: bytes, piece: int = 1 << 20) -> bytes:
    return b"".join(decompressed(in_pieces(data, piece), compression_of(data)))


def refusal(data: bytes) -> UnreadableFile:
    """The error that reading the file ends with."""
    with pytest.raises(UnreadableFile) as error:
        for _ in open_rows(in_pieces(data, 1000), contract=ABC, chunk_bytes=1000).chunks():
            pass
    assert error.value.hint
    return error.value


@pytest.mark.parametrize("kind", KINDS)
@given(
    payload=st.one_of(
        st.binary(max_size=2000),
        st.builds(lambda seed, size: random.Random(seed).randbytes(size), st.integers(), st.integers(0, 100_000)),
        st.builds(lambda unit, times: unit * times, st.binary(min_size=1, max_size=9), st.integers(0, 300_000)),
    ),
    piece=st.one_of(st.integers(1, 64), st.integers(65, 100_000)),
)
def test_any_payload_comes_back_however_the_stream_is_cut_into_pieces(kind, payload, piece):
    data = KINDS[kind](payload)
    assert compression_of(data) == kind.split()[0].replace("zip64", "zip")
    assert plain(data, max(piece, len(data) // 2000)) == payload


@pytest.mark.parametrize("kind", KINDS)
def test_a_compressed_table_is_read_byte_by_byte_like_the_table(kind):
    reader = open_rows(in_pieces(KINDS[kind](TEXT), 1), contract=ABC, chunk_bytes=1000)
    assert sum(len(chunk.lines) for chunk in reader.chunks()) == 200
    assert reader.facts.compression == kind.split()[0].replace("zip64", "zip")


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("text", [b"", TEXT[:60]], ids=["empty", "short"])
def test_a_file_that_is_cut_off_at_any_byte_is_never_taken_for_whole(kind, text):
    data = WHOLE[kind](text)
    assert plain(data) == text
    for length in range(1, len(data)):
        refusal(data[:length])


@pytest.mark.parametrize("kind", WHOLE)
def test_a_changed_byte_is_an_error_or_changes_nothing(kind):
    text = TEXT[:60]
    data = WHOLE[kind](text)
    for at in range(len(data)):
        for change in (1, 2, 4, 8, 16, 32, 64, 128, 255):
            changed = data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]
            if compression_of(changed) is None:
                refusal(changed)
                continue
            try:
                found = plain(changed)
            except UnreadableFile:
                continue
            assert found == text, (at, change)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"\x1f\x8bnot gzip at all", "The gzip stream is damaged", id="gzip in name only"),
        pytest.param(b"BZh91AY&SYnot bzip2 at all", "The bzip2 stream is damaged", id="bzip2 in name only"),
        pytest.param(b"\xfd7zXZ\0not xz at all", "The xz stream is damaged", id="xz in name only"),
        pytest.param(gzip.compress(TEXT) + b"more", "The gzip stream is damaged", id="bytes after gzip"),
        pytest.param(bz2.compress(TEXT) + b"more", "The bzip2 stream is damaged", id="bytes after bzip2"),
        pytest.param(lzma.compress(TEXT) + b"more than a header", "The xz stream is damaged", id="bytes after xz"),
        pytest.param(lzma.compress(TEXT) + b"\0" * 5, "ends before its end", id="crooked padding after xz"),
        pytest.param(
            lzma.compress(TEXT) + b"\0" * 5 + lzma.compress(TEXT), "not a multiple of 4", id="crooked padding in xz"
        ),
        pytest.param(lzma.compress(TEXT, format=lzma.FORMAT_ALONE), "legacy .lzma", id="legacy lzma"),
        pytest.param(gzip.compress(gzip.compress(TEXT)), "gzip inside gzip", id="gzip in gzip"),
        pytest.param(bz2.compress(zstandard.compress(TEXT)), "zstd inside bzip2", id="zstd in bzip2"),
        pytest.param(zstandard.compress(bz2.compress(TEXT)), "bzip2 inside zstd", id="bzip2 in zstd"),
        pytest.param(lzma.compress(lzma.compress(TEXT)), "xz inside xz", id="xz in xz"),
        pytest.param(one_file(gzip.compress(TEXT)), "gzip inside zip", id="gzip in zip"),
        pytest.param(
            gzip.compress(one_file(TEXT)), "a ZIP archive or an Office document inside gzip", id="zip in gzip"
        ),
        pytest.param(one_file(one_file(TEXT)), "a ZIP archive or an Office document inside zip", id="zip in zip"),
    ],
)
def test_what_cannot_be_unpacked_is_one_clear_error(data, says):
    assert says in refusal(data).message


@pytest.mark.parametrize("kind", WHOLE)
def test_a_compressed_file_of_nothing_is_told(kind):
    assert "of 0 bytes" in refusal(WHOLE[kind](b"")).message


@pytest.mark.parametrize("header", [b"BZh9", b"BZh,at,b,c", b"BZh1A,at,b,c"])
def test_a_text_that_begins_like_bzip2_is_text(header):
    data = header + b"\n" + b"x,1,2,3\n" * 5
    assert compression_of(data) is None


def test_an_xz_file_made_for_the_smallest_size_is_read():
    assert plain(lzma.compress(TEXT, preset=9)) == TEXT


def test_an_xz_file_that_needs_much_memory_is_refused_and_says_so():
    data = bytearray(lzma.compress(TEXT, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}]))
    end = 12 + (data[12] + 1) * 4  # of the block's header, which follows that of the stream
    assert data[14:16] == b"\x21\x01"  # LZMA2, one byte of properties: the dictionary's size
    data[16] = 30  # 128 MiB
    data[end - 4 : end] = struct.pack("<I", zlib.crc32(data[12 : end - 4]))
    error = refusal(bytes(data))
    assert "needs more than 68 MiB of memory" in error.message
    assert "xz -9 or less" in error.hint


def test_an_xz_file_whose_checksum_cannot_be_checked_is_refused():
    data = bytearray(lzma.compress(TEXT, check=lzma.CHECK_CRC32))
    data[7] = data[-3] = 2  # a checksum of four bytes that nobody has defined
    data[8:12] = struct.pack("<I", zlib.crc32(data[6:8]))
    data[-12:-8] = struct.pack("<I", zlib.crc32(data[-8:-2]))
    assert "unknown kind of checksum" in refusal(bytes(data)).message


ZEROS = bytes(10_000_000)
BOMBS = {
    "gzip": lambda: gzip.compress(ZEROS) * 20,
    "zstd": lambda: zstandard.compress(ZEROS) * 20,
    "bzip2": lambda: bz2.compress(ZEROS) * 20,
    "xz": lambda: lzma.compress(ZEROS) * 20,
    "zip": lambda: one_file(ZEROS * 12),
    "zip, in a member that is ignored": lambda: zipped({"__MACOSX/a": ZEROS * 12, "a.csv": TEXT}),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_in_little_time_and_memory(kind):
    bomb = BOMBS[kind]()
    sizes = [0]
    pieces = (sizes.append(len(piece)) for piece in decompressed(in_pieces(bomb, 1 << 20), compression_of(bomb)))
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(UnreadableFile, match=r"expands more than 1,000 times: looks like a bomb"):
            any(pieces)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(sizes) <= 120 << 20
    assert max(sizes) <= (16 << 20 if kind == "zstd" else 1 << 20)
    assert peak < 50 << 20
    assert time.process_time() - started < 3


@pytest.mark.parametrize("before", [0, 600_000], ids=["from the start", "behind what does not compress"])
@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_many_equal_bytes_are_unpacked_in_small_pieces(compress, before):
    calm = random.Random(1).randbytes(before)
    zeros = b"0" * 100_000_000
    for data in (compress(calm + zeros), compress(calm) + compress(zeros)):
        sizes = [len(piece) for piece in decompressed([data], compression_of(data))]
        assert sum(sizes) == len(calm) + len(zeros)
        assert max(sizes) <= 16 << 20


def test_a_large_file_that_compresses_as_well_as_tables_do_is_no_bomb():
    text = b"".join(f"{n},0,0,0,0,0\n".encode() for n in range(1_000_000))
    data = zstandard.compress(text) * 8
    assert sum(map(len, decompressed([data], "zstd"))) == 8 * len(text) > 100 << 20


@pytest.mark.parametrize(
    "member",
    [gzip.compress(b"", mtime=0), zstandard.compress(b""), bz2.compress(b""), lzma.compress(b"")],
    ids=["gzip", "zstd", "bzip2", "xz"],
)
def test_many_streams_in_one_chunk_take_time_by_their_number_not_by_its_square(member):
    data = member * ((2 << 20) // len(member))
    started = time.process_time()
    assert list(decompressed([data], compression_of(data))) == []
    assert time.process_time() - started < 10  # a copy of the rest for each would take longer
