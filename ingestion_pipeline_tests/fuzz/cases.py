"""Cases of the fuzzer: seed files of every format, and what is done to them.

What belongs here: making bytes from a number, the same ones each time. What does not: reading them (`checks`), running
them (`__main__`).
"""

import bz2
import gzip
import io
import json
import lzma
import random
import re
import zipfile
from collections.abc import Callable

import polars as pl
import zstandard

from ingestion_pipeline_tests.unit.odd_files import ENCODINGS, FILES
from ingestion_pipeline_tests.unit.pollution import KINDS, Written, tables

_MAX_BYTES = 300_000
_ODD = [
    b'"',
    b"'",
    b"\\",
    b",",
    b";",
    b"\t",
    b"|",
    b"\n",
    b"\r",
    b"\r\n",
    b"\0",
    b"\x1a",
    b"\xff",
    b"\xc3",
    b"\xef\xbb\xbf",
]
_ODD += [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"\\u00",
    b"\\ud800",
    b"null",
    b"1e999",
    b"-",
    b"  ",
    b"#",
    b'""',
    b'","',
    b"\x1b$B",
    b"PK",
]


def case(number: int) -> bytes:
    """The file of a number."""
    r = random.Random(number)
    plain = r.choice(_SEEDS)(r)
    for _ in range(r.choice([0, 1, 1, 2, 3, 8])):
        plain = r.choice(_MUTATIONS)(plain, r)[:_MAX_BYTES]
    if r.random() < 0.6:
        return plain
    packed = r.choice(_PACKED)(plain)
    for _ in range(r.choice([0, 0, 1, 2])):
        packed = r.choice(_BYTE_MUTATIONS)(packed, r)[:_MAX_BYTES]
    return packed


def _polluted(r: random.Random) -> bytes:
    _, (header, rows) = r.choice(tables(r.randrange(20)))
    written = Written(header, rows)
    for kind in r.sample(sorted(KINDS), r.randint(1, 3)):
        written = KINDS[kind](written, r)
    try:
        return written.data()
    except (UnicodeEncodeError, ValueError):
        return b"a,b\n1,2\n"


def _odd_file(r: random.Random) -> bytes:
    text, _, _ = FILES[r.choice(list(FILES))]
    return text if isinstance(text, bytes) else text.encode()


def _encoded(r: random.Random) -> bytes:
    encoding, text = r.choice(ENCODINGS)
    return (f"id,text\n1,{text}\n2,x\n" * r.randint(1, 50)).encode(encoding)


def _records(r: random.Random) -> list[dict[str, object]]:
    value: Callable[[], object] = lambda: r.choice(  # noqa: E731
        [1, 2.5, "x", "é\n", None, True, [1, [2]], {"b": {"c": 1}}, "2024-01-01T00:00:00Z", 10**30, ""]
    )
    return [{"at": "2024-01-01T00:00:00Z", "n": n, "word": "w", "more": value()} for n in range(r.randint(0, 40))]


def _json(r: random.Random) -> bytes:
    indent = r.choice([None, 1])
    found = _records(r)
    return json.dumps(found if r.random() < 0.5 else {"meta": 1, "items": found}, indent=indent).encode()


def _ndjson(r: random.Random) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=r.random() < 0.5) + "\n" for record in _records(r)).encode()


def _deep(r: random.Random) -> bytes:
    depth = r.choice([50, 2000, 50_000])
    return r.choice([b"[", b'{"a":', b'[{"a":[']) * depth


def _parquet(r: random.Random) -> bytes:
    out = io.BytesIO()
    count = r.randint(0, 50)
    pl.DataFrame(
        {
            "at": ["2024-01-01T00:00:00Z"] * count,
            "n": range(count),
            "word": [r.choice(["a", None]) for _ in range(count)],
        },
        schema={"at": pl.String, "n": pl.Int64, "word": pl.String},
    ).write_parquet(out, compression=r.choice(["snappy", "zstd", "uncompressed", "gzip"]), row_group_size=10)
    return out.getvalue()


def _things(r: random.Random) -> bytes:
    rows = [f"2024-01-{1 + n % 28:02}T00:00:00Z,{n},word\n" for n in range(r.randint(0, 60))]
    return ("at,n,word\n" + "".join(rows)).encode()


def _repeated(r: random.Random) -> bytes:
    unit = b"".join(r.choice([*_ODD, b"a", b"1"]) for _ in range(r.randint(1, 4)))
    return unit * (r.choice([10, 1000, 100_000]) // len(unit) + 1)


_SEEDS = [
    _polluted,
    _polluted,
    _odd_file,
    _odd_file,
    _encoded,
    _json,
    _ndjson,
    _parquet,
    _things,
    _things,
    _deep,
    _repeated,
]


def _flip(data: bytes, r: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(r.randint(1, 4)):
        if changed:
            changed[r.randrange(len(changed))] = r.randrange(256)
    return bytes(changed)


def _cut(data: bytes, r: random.Random) -> bytes:
    return data[: r.randint(0, len(data))]


def _without_a_stretch(data: bytes, r: random.Random) -> bytes:
    start = r.randint(0, len(data))
    return data[:start] + data[start + r.randint(1, 30) :]


def _twice_a_stretch(data: bytes, r: random.Random) -> bytes:
    start = r.randint(0, len(data))
    part = data[start : start + r.randint(1, 300)]
    return data[:start] + part * r.choice([2, 3, 50]) + data[start:]


def _inserted(data: bytes, r: random.Random) -> bytes:
    at = r.randint(0, len(data))
    return data[:at] + r.choice(_ODD) * r.choice([1, 1, 2, 100]) + data[at:]


def _swapped_lines(data: bytes, r: random.Random) -> bytes:
    lines = data.split(b"\n")
    first, second = r.randrange(len(lines)), r.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


def _line_without_its_end(data: bytes, r: random.Random) -> bytes:
    ends = [found.start() for found in re.finditer(b"\n", data)]
    at = r.choice(ends) if ends else 0
    return data[:at] + data[at + 1 :]


def _another_mark(data: bytes, r: random.Random) -> bytes:
    return data.replace(r.choice(_ODD[:11]), r.choice(_ODD), r.choice([1, -1]))


def _other_file_behind(data: bytes, r: random.Random) -> bytes:
    return data + r.choice([b"", b"\n", b"\n\n"]) + _odd_file(r)


def _in_another_encoding(data: bytes, r: random.Random) -> bytes:
    return data.decode(errors="replace").encode(
        r.choice(["utf-16", "utf-16-le", "cp1252", "utf-8-sig"]), errors="ignore"
    )


_BYTE_MUTATIONS = [_flip, _cut, _without_a_stretch, _twice_a_stretch, _inserted]
_MUTATIONS = [
    *_BYTE_MUTATIONS,
    *[_swapped_lines, _line_without_its_end, _another_mark, _other_file_behind, _in_another_encoding],
]


def _zip(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", data)
    return out.getvalue()


_PACKED: list[Callable[[bytes], bytes]] = [
    gzip.compress,
    bz2.compress,
    lzma.compress,
    zstandard.ZstdCompressor().compress,
    _zip,
    lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:]),
    lambda data: gzip.compress(gzip.compress(data)),
]
