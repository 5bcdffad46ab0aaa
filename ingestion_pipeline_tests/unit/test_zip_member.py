"""ZIP archives: the one file in them is read, and every other archive is refused with its reason."""

import io
import re
import struct
import time
import zipfile

import pytest

from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.compression import compression_of, decompressed
from ingestion_pipeline_tests.unit.archives import described, one_file, zipped
from ingestion_pipeline_tests.unit.contracts import in_pieces

TEXT = b"at,b,c\n" + b"".join(f"{n},x,y\n".encode() for n in range(200))


def plain(data: bytes, piece: int = 1000) -> bytes:
    return b"".join(decompressed(in_pieces(data, piece), compression_of(data)))


def refusal(data: bytes) -> UnreadableFile:
    assert compression_of(data) == "zip"
    with pytest.raises(UnreadableFile) as error:
        plain(data)
    assert error.value.hint
    return error.value


def with_field(data: bytes, field: int, value: int) -> bytes:
    """The archive of one member with two bytes of its header changed, before the data and in the directory."""
    changed, directory = bytearray(data), data.rindex(b"PK\1\2")
    for at in (field, directory + field + 2):
        struct.pack_into("<H", changed, at, value)
    return bytes(changed)


FLAGS, METHOD = 6, 8


@pytest.mark.parametrize("make", [zipped, described], ids=["sizes before", "sizes behind"])
@pytest.mark.parametrize("place", range(3))
def test_folders_and_what_macos_adds_are_no_files(make, place):
    ignored = {"d/": b"", "__MACOSX/d/._a.csv": b"Mac OS X" * 9, "d/.DS_Store": b"Bud1" * 50, ".DS_Store": b""}
    members = list(ignored.items())
    members.insert(place * 2, ("d/a.csv", TEXT))
    assert plain(make(dict(members))) == TEXT


@pytest.mark.parametrize("name", ["a.csv", "données 漢.csv", "../../etc/passwd", "/etc/passwd", "C:\\x\\a.csv", ""])
def test_the_name_of_the_file_does_not_matter(name):
    assert plain(one_file(TEXT, name=name.encode())) == TEXT


@pytest.mark.parametrize("descriptor", ["<4s3I", "<3I", "<4sI2Q", "<I2Q"])
@pytest.mark.parametrize("text", [b"", TEXT], ids=["empty", "full"])
@pytest.mark.parametrize("piece", [1, 1000])
def test_sizes_behind_the_data_are_read_in_each_of_their_forms(descriptor, text, piece):
    assert plain(one_file(text, descriptor=descriptor), piece) == text


@pytest.mark.parametrize("descriptor", ["<4s3I", "<4sI2Q"])
def test_wrong_sizes_behind_the_data_are_told(descriptor):
    data = bytearray(one_file(TEXT, descriptor=descriptor))
    data[data.rindex(b"PK\7\x08") + 4] ^= 1
    assert "behind 'a.csv' is wrong" in refusal(bytes(data)).message


def test_a_file_whose_last_byte_stands_for_more_than_one_step_gives_is_read():
    for size in range((1 << 20) + 1, (1 << 20) + 259, 16):  # one step is 1 MiB, one byte may stand for 258
        assert len(plain(one_file(bytes(size)), 1 << 20)) == size


def test_a_stored_file_whose_size_is_behind_it_is_refused():
    error = refusal(described({"a.csv": TEXT}, zipfile.ZIP_STORED))
    assert "stores 'a.csv' uncompressed and does not say where it ends" in error.message


def test_a_stored_file_whose_size_is_before_it_as_well_as_behind_it_is_read():
    data = bytearray(described({"a.csv": TEXT}, zipfile.ZIP_STORED))
    struct.pack_into("<II", data, 18, len(TEXT), len(TEXT))
    assert plain(bytes(data)) == TEXT


def test_a_stored_file_of_nothing_whose_size_is_behind_it_is_a_file_of_nothing():
    assert plain(described({"a.csv": b""}, zipfile.ZIP_STORED)) == b""


def test_a_comment_at_the_end_is_passed_over():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.csv", TEXT)
        archive.comment = b"PK\3\4 PK\5\6" * 100
    assert plain(out.getvalue()) == TEXT


@pytest.mark.parametrize("make", [zipped, described], ids=["sizes before", "sizes behind"])
def test_more_than_one_file_is_one_error_that_names_them(make):
    error = refusal(make({"x/": b"", "x/a.csv": TEXT, "__MACOSX/x/._a.csv": b"1", "x/b.csv": TEXT, "x/c.csv": TEXT}))
    assert error.message == "The ZIP archive holds more than one file: 'x/a.csv', 'x/b.csv' and perhaps others."
    assert error.hint == "Upload each file by itself, plain or compressed."
    assert error.details == {"members": ["x/a.csv", "x/b.csv"]}
    assert not error.retryable


@pytest.mark.parametrize("members", [{}, {"d/": b""}, {"__MACOSX/._a": b"1", ".DS_Store": b"2"}])
def test_an_archive_without_a_file_is_told(members):
    assert "holds no file" in refusal(zipped(members)).message


@pytest.mark.parametrize(
    "names",
    [
        ["[Content_Types].xml", "_rels/.rels", "xl/workbook.xml"],
        ["docProps/app.xml", "docProps/core.xml", "xl/workbook.xml", "[Content_Types].xml"],
        ["xl/worksheets/sheet1.xml", "[Content_Types].xml"],
        ["word/document.xml"],
        ["mimetype", "content.xml"],
    ],
    ids=["XLSX", "XLSX with its types at the end", "XLSX with a sheet first", "DOCX", "ODS"],
)
def test_an_office_document_is_called_by_its_name(names):
    error = refusal(zipped(dict.fromkeys(names, b"<x/>")))
    assert "not delimited text but an Office document (XLSX, DOCX, ODS" in error.message
    assert "CSV" in error.hint


@pytest.mark.parametrize("name", ["xl/a.csv", "mimetype.csv", "word/a.txt"])
def test_a_file_in_a_folder_that_is_called_like_those_of_office_is_a_file(name):
    assert plain(zipped({name: TEXT})) == TEXT


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(with_field(one_file(TEXT), FLAGS, 1), id="a password"),
        pytest.param(with_field(one_file(TEXT), FLAGS, 0x41), id="strong encryption"),
        pytest.param(with_field(with_field(one_file(TEXT), FLAGS, 1), METHOD, 99), id="AES"),
        pytest.param(with_field(one_file(TEXT), METHOD, 99), id="AES without the flag"),
    ],
)
def test_an_encrypted_file_is_told(data):
    error = refusal(data)
    assert error.message == "The file 'a.csv' in the ZIP archive is encrypted."
    assert "without a password" in error.hint


@pytest.mark.parametrize(("method", "name"), [(9, "Deflate64"), (14, "LZMA"), (98, "PPMd"), (77, "number 77")])
def test_a_method_that_is_not_read_is_named(method, name):
    error = refusal(with_field(one_file(TEXT), METHOD, method))
    assert error.message.endswith(f"compressed with a method that is not read: {name}.")
    assert "Deflate" in error.hint


@pytest.mark.parametrize(
    ("name", "flags", "shown"),
    [
        pytest.param(b"a\x1b[31m\r\n'.csv", 0, "a\\x1b[31m\\r\\n'.csv", id="control characters"),
        pytest.param("\u202egnp.csv".encode(), 0x800, "\\u202egnp.csv", id="right to left"),
        pytest.param("é漢.csv".encode(), 0x800, "é漢.csv", id="UTF-8"),
        pytest.param(b"\x82.csv", 0, "é.csv", id="code page 437"),
        pytest.param(b"\xff.csv", 0x800, "\ufffd.csv", id="not UTF-8"),
        pytest.param(b"n" * 60_000, 0, "n" * 80 + "…", id="long"),
    ],
)
def test_names_are_shown_harmless_and_short(name, flags, shown):
    error = refusal(with_field(one_file(TEXT, name=name), FLAGS, flags | 1))
    assert error.message == f"The file '{shown}' in the ZIP archive is encrypted."


def directory_of(data: bytes) -> bytes:
    return data[data.index(b"PK\1\2") : data.index(b"PK\5\6")]


def listed_otherwise(data: bytes, field: int) -> bytes:
    """The archive with one byte changed in its directory."""
    changed = bytearray(data)
    changed[data.index(b"PK\1\2") + field] ^= 1
    return bytes(changed)


ONE, TWO = zipped({"a.csv": TEXT}), zipped({"a.csv": TEXT, "b.csv": b"other"})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(one_file(TEXT, listed_as=b"b.csv"), "lists other files", id="another name"),
        pytest.param(ONE.replace(directory_of(ONE), b""), "does not list 'a.csv'", id="not listed"),
        pytest.param(ONE.replace(directory_of(ONE), directory_of(ONE) * 2), "lists other files", id="listed twice"),
        pytest.param(ONE.replace(directory_of(ONE), directory_of(TWO)), "lists other files", id="listed but not there"),
        pytest.param(listed_otherwise(ONE, 16), "lists other files", id="listed with another checksum"),
        pytest.param(listed_otherwise(ONE, 20), "lists other files", id="listed with another stored size"),
        pytest.param(listed_otherwise(ONE, 24), "lists other files", id="listed with another size"),
        pytest.param(ONE[: ONE.index(b"PK\1\2")] + directory_of(ONE), "cut off", id="no end"),
        pytest.param(ONE + ONE, "goes on after its end", id="two archives"),
        pytest.param(ONE + b"\n", "goes on after its end", id="a byte too many"),
        pytest.param(one_file(TEXT, extra_end=b"PK\3\4"), "do not follow each other", id="a file in the directory"),
        pytest.param(one_file(TEXT, extra_end=b"PK\6\6" + b"\xff" * 8), "cut off", id="an endless record"),
        pytest.param(one_file(TEXT, compressed=b""), "does not end where it should", id="too little data"),
        pytest.param(
            one_file(TEXT, compressed=zipped({"a": TEXT})[31:-69] + b"more"), "is wrong", id="more data than was packed"
        ),
        pytest.param(b"PK\7\x08" + ONE, "one part of a split ZIP archive", id="split"),
        pytest.param(b"PK\3\4rest", "cut off", id="ZIP in name only"),
    ],
)
def test_an_archive_that_does_not_agree_with_itself_is_never_read_as_whole(data, says):
    assert says in refusal(data).message


@pytest.mark.parametrize("make", [zipped, described], ids=["sizes before", "sizes behind"])
@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_many_tiny_members_take_time_by_their_number_not_by_its_square(make, piece):
    times = []
    for count in (1000, 4000):
        data = make({"a.csv": TEXT} | {f"__MACOSX/{n}": b"x" for n in range(count)})
        started = time.process_time()
        assert plain(data, piece) == TEXT
        times.append(time.process_time() - started)
    assert times[1] < max(10 * times[0], 1)  # four times the members; by their square it would be sixteen


@pytest.mark.parametrize("length", [0, 1, 4, 0xFFFF])
@pytest.mark.parametrize("fill", [b"\0", b"\1", b"\xff"])
def test_fields_of_any_length_and_content_beside_the_sizes_do_no_harm(length, fill):
    header = struct.pack("<4s5H3I2H", b"PK\3\4", 45, 0, 0, 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF, 5, length)
    message = refusal(header + b"a.csv" + fill * length + TEXT).message
    assert re.search("cut off|is wrong|do not follow", message)
