"""JSON: what becomes of values, where the rows are found, and how a file is told from delimited text."""

import json

import pytest

from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats import open_rows
from ingestion_pipeline.formats.json_head import _verdict
from ingestion_pipeline.stages.validate import validate
from ingestion_pipeline_tests.unit.contracts import KeptRows, contract_of, problems_of
from ingestion_pipeline_tests.unit.test_json import ABC, OPTIONAL, read


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("1e5", "1e5"),
        ("1.10", "1.10"),
        ("-0", "-0"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("9" * 5000, "9" * 5000),
        ("1E+400", "1E+400"),
        ("true", "true"),
        ("null", None),
        ('"null"', "null"),
        ('""', ""),
        (r'"a\"b\\\/\n\u00e9\u0000"', 'a"b\\/\né\0'),
        (r'"\ud83d\ude00"', "\U0001f600"),
        ('{ "a" : [ 1.0 , "x  y" ] , "b":{}}', '{"a":[1.0,"x  y"],"b":{}}'),
        ('[\t"\\" ]"\t]', '["\\" ]"]'),
    ],
)
@pytest.mark.parametrize("other", ["", ', "x": []'], ids=["flat", "beside a nested value"])
def test_a_cell_is_what_stands_in_the_file(value, cell, other):
    rows, malformed, _, _ = read(f'[{{"at": {value}{other}}}]'.encode(), piece=10_000, chunk_bytes=10_000)
    assert (rows, malformed) == ([(1, cell, None, None)], [])


def test_the_contracts_types_are_read_from_json():
    contract = contract_of(
        {
            "i": {"type": "integer", "nullable": True},
            "f": {"type": "float", "nullable": True},
            "d": {"type": "decimal", "precision": 38, "scale": 2, "nullable": True},
            "b": {"type": "boolean", "nullable": True},
            "s": {"type": "string", "nullable": True},
        }
    )
    good = '{"at":"2024-05-01T10:00:00Z","i":%s,"f":%s,"d":%s,"b":%s,"s":%s}'
    lines = [
        good % ("9223372036854775807", "1e5", "123456789012345678901234567890123456.10", "true", r'"\u0000"'),
        good % ("null", '"2.5"', '"0.10"', '"no"', "17"),
        good % ("9223372036854775808", "1e400", "0.001", "2", "null"),
        good % ("1.5", "{}", "[]", "{}", "{}"),
    ]
    sink = KeptRows()
    report = validate(["\n".join(lines).encode()], contract=contract, name="x", sink=sink)
    assert [tuple(map(str, row[1:])) for row in sink.rows.rows()] == [
        ("9223372036854775807", "100000.0", "123456789012345678901234567890123456.10", "True", "\0"),
        ("None", "2.5", "0.10", "False", "17"),
    ]
    assert sorted(sink.broken) == [
        *((3, column, rule) for column, rule in (("b", "type"), ("d", "type"), ("f", "finite"), ("i", "type"))),
        *((4, column, "type") for column in "bdfi"),
    ]
    assert report.preview[0]["s"] == "\ufffd"  # PostgreSQL's JSON has no zero character


def test_a_source_with_dots_reaches_into_objects_unless_a_key_has_that_very_name():
    contract = contract_of({"city": {**OPTIONAL, "source": "customer.address.city"}})
    lines = [
        '{"at":1,"customer":{"address":{"city":"Rome"}}}',
        '{"at":1,"customer":{"address":{"city":"Rome"}},"customer.address.city":"Oslo"}',
        '{"at":1,"customer":{"address":"Rome"}}',
        '{"at":1,"customer":null}',
        '{"at":1}',
        '{"at":1,"customer":{"address":{"city":"Rome","city":"Oslo"}}}',
    ]
    rows, malformed, _, facts = read("\n".join(lines).encode(), contract=contract)
    assert [row[2] for row in rows] == ["Rome", "Oslo", None, None, None]
    assert malformed == [(6, lines[5])]
    assert facts.warnings == []


def test_words_for_null_and_keys_without_a_column():
    contract = contract_of({"b": OPTIONAL}, format={"null_values": ["NA"]})
    data = b'{"at":"NA","b":"x","y":1}\n\n{"b":"NA","at":2,"z":[]}\n'
    rows, _, _, facts = read(data, contract=contract)
    assert rows == [(1, None, "x"), (3, "2", None)]
    assert facts.warnings == [
        "1 blank lines were skipped.",
        "Keys that the contract does not name were left out: y, z.",
    ]


def test_of_millions_of_names_of_keys_some_are_told():
    data = "\n".join(json.dumps({"at": 1, **{f"{row}-{n}": 0 for n in range(100)}}) for row in range(30)).encode()
    _, _, _, facts = read(data, piece=1 << 20, chunk_bytes=1 << 20)
    assert len(facts.warnings[0]) < 400
    assert "and more" in facts.warnings[0]
    assert not facts.header_is_whole


def test_a_later_row_may_lack_a_required_column_and_is_then_rejected():
    sink = KeptRows()
    data = b'{"at":"2024-05-01","n":1}\n{"at":"2024-05-01"}\n'
    validate([data], contract=contract_of({"n": {"type": "integer"}}), name="x", sink=sink, chunk_bytes=10)
    assert sink.broken == [(2, "n", "not_null")]


@pytest.mark.parametrize(
    ("data", "lines", "form"),
    [
        ('{"at":1}', [1], "JSON object"),
        ('{\n "at":1,\n "b":[{"at":2}]\n}', [1], "JSON object"),
        ('{"b":[{"at":2}],"at":1}', [1], "JSON object"),
        ('{"n":[1],\n"rows":[{"at":1},\n{"at":2}]}', [2, 3], "JSON array"),
        ('{"n":1,"rows":[]}', [], "JSON array"),
        ("[]", [], "JSON array"),
        ('{"at":1}\n{"at":2}', [1, 2], "NDJSON"),
        ('\n\n [{"at":1}]', [3], "JSON array"),
    ],
)
def test_rows_are_found(data, lines, form):
    rows, _, _, facts = read(data.encode(), contract=contract_of({"b": OPTIONAL}))
    assert ([row[0] for row in rows], facts.format) == (lines, form)


@pytest.mark.parametrize("size", [0, 2 << 20], ids=["short", "longer than what is looked at"])
def test_rows_are_found_behind_long_members_and_long_first_lines(size):
    filler = json.dumps({"at": 0, "x": "[" * size})
    inside = '{"first":["%s"],"rows":[{"at":1}]}' % ("[" * size)
    for data, form, count in (
        (inside, "JSON array", 1),
        (f"{filler}\n{filler}\n", "NDJSON", 2),
        (filler, "JSON object", 1),
    ):
        rows, malformed, _, facts = read(data.encode(), piece=100_000, chunk_bytes=1 << 20)
        assert (facts.format, len(rows), malformed) == (form, count, [])


@pytest.mark.parametrize(
    ("data", "path", "found"),
    [
        ('{"data":{"x":[{"at":9}],"items":[{"at":1},\n{"at":2}]},"y":{}}', "data.items", [1, 2]),
        ('{"items":[]}', "items", []),
        ('{"items":{"at":1}}', "items", "no array at items"),
        ('{"data":[{"at":1}]}', "data.items", "no array at data.items"),
        ('{"data":{}}', "data.items", "'items' is missing"),
        ('{"items":[{"at":1}],"items":[{"at":2}]}', "items", "twice"),
        ('[{"at":1}]', "items", "an array itself"),
        ('{"at":1}\n{"at":2}\n', "items", "one object per line"),
    ],
)
def test_the_contract_can_name_the_way_to_the_rows(data, path, found):
    contract = contract_of(format={"record_path": path})
    if isinstance(found, str):
        with pytest.raises(UnreadableFile, match=found):
            read(data.encode(), contract=contract)
        return
    rows, _, _, facts = read(data.encode(), contract=contract)
    assert [row[1] for row in rows] == [str(n) for n in found]
    assert facts.warnings == []


def test_a_second_array_of_objects_behind_what_is_looked_at_is_not_passed_over():
    first = ",".join(['{"at":1}'] * 200_000)
    data = f'{{"a":[{first}],"b":[{{"at":2}}]}}'.encode()
    with pytest.raises(UnreadableFile, match="second array of objects"):
        read(data, piece=1 << 20, chunk_bytes=1 << 20)


@pytest.mark.parametrize(
    "header", ["[at],b", "{at},b", "[1],[2]", '["at"],b', "{},b", '{"at"},b', "[,b", "[]x,b"], ids=str
)
def test_delimited_text_may_begin_with_a_bracket(header):
    first = next(cell for cell in header.split(","))
    contract = contract_of({"b": {**OPTIONAL, "source": header.split(",")[1]}}, format={"quote": None})
    data = f"at,{header}\n1,2,3\n".encode()  # the same columns behind another one are delimited text for sure
    assert open_rows([data], contract=contract, chunk_bytes=100).facts.format == "delimited text"
    with pytest.raises(UnreadableFile) as error:
        read(f"{header}\n1,2\n".encode(), contract=contract)
    assert error.value.details["header"][0] == first


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_json_is_read_in_every_encoding_with_a_byte_order_mark(encoding):
    rows, _, originals, facts = read('[{"at":"é😀"},\n {"at":2}]'.encode(encoding))
    assert [row[:2] for row in rows] == [(1, "é😀"), (2, "2")]
    assert originals == ['{"at":"é😀"}', '{"at":2}']
    assert facts.format == "JSON array"


@pytest.mark.parametrize(
    ("data", "kind", "says"),
    [
        (b"at,b\n1,2\n", "json", "not JSON"),
        (b" \n", "json", "blank"),
        (b'{"at":1}', "csv", "lacks the required column"),
        (b'{"at":1}', "parquet", "not Parquet"),
        (b"PAR1\x15\x04\x15", "json", "Parquet"),
    ],
)
def test_a_contract_that_says_another_type_is_told(data, kind, says):
    with pytest.raises(UnreadableFile, match=says):
        read(data, contract=contract_of(format={"type": kind}))


def test_a_record_without_end_is_refused_before_it_fills_the_memory(monkeypatch):
    from ingestion_pipeline.formats import json_head, json_scan

    for module in (json_head, json_scan):
        monkeypatch.setattr(module, "MAX_RECORD_BYTES", 100_000)
    read_bytes = 0

    def endless(start: bytes, more: bytes):
        nonlocal read_bytes
        yield start
        while True:
            read_bytes += len(more)
            yield more

    for start in (b'[{"at":"', b'[{"at":[', b'{"at":1}\n{"at":"', b'{"x":"'):
        read_bytes = 0
        with pytest.raises(UnreadableFile, match="longer than"):
            for _ in open_rows(endless(start, b"x1,2," * 1000), contract=ABC, chunk_bytes=10_000).chunks():
                pass
        assert read_bytes < 3_000_000


def test_the_parser_says_whether_a_text_has_begun_is_whole_or_broken():
    texts = {'{"a":[1,{"b":"': "begun", '{"a":1}': "whole", "[1],[2]": "more", "[id],b": "broken", "[" * 9999: "deep"}
    assert {text: _verdict(text.encode()) for text in texts} == texts


@pytest.mark.parametrize(
    ("written", "key", "says"),
    [
        ({"type": "jsno"}, "format.type", "json"),
        ({"record_path": "a..b"}, "format.record_path", "missing"),
        ({"record_path": "a", "type": "csv"}, "format.record_path", "csv"),
        ({"record_paht": "a"}, "format.record_paht", "record_path"),
    ],
)
def test_mistakes_in_a_contract_are_told_with_their_key(written, key, says):
    assert says in problems_of(format=written)[key]


def test_an_array_is_read_in_memory_that_does_not_grow_with_it():
    element = b'{"at":"2024-05-01","b":"' + b"x" * 200 + b'"},\n'
    pieces = (b"[" if n == 0 else element * 400 if n < 100 else b"{}]" for n in range(101))
    sizes = [chunk.cells.height for chunk in open_rows(pieces, contract=ABC, chunk_bytes=200_000).chunks()]
    assert sum(sizes) > 39_000
    assert max(sizes) * len(element) < 400_000


def test_rejected_rows_of_one_line_have_each_its_text_and_what_is_wrong_with_it():
    rows = [
        '{"at":"2024-05-01T00:00:00Z","n":"x","m":1}',
        '{"at":"2024-05-01T00:00:00Z","n":2,"m":2}',
        '{"at":7,"n":"y"}',
    ]
    contract = contract_of({"n": {"type": "integer"}, "m": {"type": "integer"}})
    kept = KeptRows()
    validate([f"[{','.join([*rows, '5'])}]".encode()], contract=contract, name="one-line.json", sink=kept)
    told = [entry for frame in kept.rejects for entry in frame.select("column", "rule", "row").rows()]
    assert told == [
        ("n", "type", rows[0]),
        ("at", "type", rows[2]),
        ("n", "type", None),
        ("m", "not_null", None),
        ("", "row_shape", "5"),
    ]
