"""JSON: whatever a JSON writer writes is read back as it stands in the file, and damage is never silent."""

import json

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats import open_rows
from ingestion_pipeline_tests.unit.contracts import contract_of, in_pieces
from ingestion_pipeline_tests.unit.test_csv import read as read_rows

OPTIONAL = {"type": "string", "nullable": True, "required": False}
ABC = contract_of({"b": OPTIONAL, "c": OPTIONAL})
JSON = contract_of({"b": OPTIONAL, "c": OPTIONAL}, format={"type": "json"})
TEXT = st.text(alphabet=st.sampled_from('ab1 é漢😀,:;"\\{}[]/\n\t\r\0\x1f\x7f\u2028'), max_size=6)
SCALAR = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT, st.just("null")
)
NESTED = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3))
ROW = st.fixed_dictionaries({"at": SCALAR}, optional={"b": SCALAR, "c": SCALAR, "x": SCALAR, 'odd "key"': SCALAR})
DEEP_ROW = st.fixed_dictionaries({"at": NESTED}, optional={"b": NESTED, "c": SCALAR, "x": NESTED})


def read(data: bytes, *, contract=ABC, piece: int = 7, chunk_bytes: int = 32):
    """Rows (with their lines), malformed records, original texts, facts."""
    return read_rows(data, piece=piece, chunk_bytes=chunk_bytes, contract=contract)


def cell(value, *, ascii_only: bool) -> str | None:
    """A value as a cell: the text that `json.dumps` writes for it, but strings as they are and null as nothing."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only)


def written(rows, form: str, *, ascii_only: bool) -> tuple[bytes, list[int], list[str]]:
    """A file of these rows, the line on which each begins, and its text."""
    dump = json.JSONEncoder(
        ensure_ascii=ascii_only,
        separators=(",", ":") if form in {"compact", "ndjson"} else None,
        indent=2 if form == "indented" else None,
    ).encode
    begin, between, end = {
        "ndjson": ("", "\n", "\n"),
        "ndjson, CRLF": ("", "\r\n", "\r\n"),
        "ndjson, no end": ("", "\n\n", ""),
        "compact": ("[", ",", "]"),
        "spaced": ("[", ", ", "]"),
        "one per line": ("[\n", ",\n", "\n]\n"),
        "indented": ("[\n  ", ",\n  ", "\n]"),
        "inside": ('{"count":2,"note":["]}"],\n"items": [', ",\n", '], "next": {"page": [2]}}'),
    }[form]
    texts = [dump(row).replace("\n", "\n  ") if form == "indented" else dump(row) for row in rows]
    file, lines = begin, []
    for number, text in enumerate(texts):
        file += between if number else ""
        lines.append(file.count("\n") + 1)
        file += text
    file += end
    if form in {"compact", "spaced", "indented"} and rows:
        assert file == dump(rows)  # the very text that json.dumps writes
    return file.encode(), lines, texts


ARRAYS = ["compact", "spaced", "one per line", "indented"]
FORMS = [*ARRAYS, "ndjson", "ndjson, CRLF", "ndjson, no end"]


@given(
    rows=st.lists(st.one_of(ROW, DEEP_ROW), max_size=8),
    form=st.sampled_from(FORMS),
    ascii_only=st.booleans(),
    mark=st.booleans(),
    piece=st.integers(1, 60),
    chunk_bytes=st.integers(1, 200),
)
@example(rows=[{"at": "a,"}, {"at": "b", "b": ""}], form="ndjson", ascii_only=True, mark=False, piece=9, chunk_bytes=9)
@example(rows=[{"at": "a, ", "b": ", "}] * 2, form="spaced", ascii_only=True, mark=False, piece=9, chunk_bytes=99)
@example(rows=[{"at": "\\"}, {"at": '"'}], form="ndjson", ascii_only=True, mark=True, piece=9, chunk_bytes=99)
def test_what_a_json_writer_writes_is_read_back_with_lines_and_texts(rows, form, ascii_only, mark, piece, chunk_bytes):
    data, lines, texts = written(rows, form, ascii_only=ascii_only)
    assume(data.strip())
    found, malformed, originals, facts = read(
        b"\xef\xbb\xbf" * mark + data, piece=piece, chunk_bytes=chunk_bytes, contract=JSON
    )
    expected = [tuple(cell(row.get(key), ascii_only=ascii_only) for key in ("at", "b", "c")) for row in rows]
    assert malformed == []
    assert [row[1:] for row in found] == expected
    assert [row[0] for row in found] == lines
    assert originals == texts
    assert facts.format == ("JSON array" if form in ARRAYS else facts.format)


@given(
    rows=st.lists(ROW, min_size=1, max_size=8),
    form=st.sampled_from([*FORMS, "inside"]),
    piece=st.integers(1, 60),
    chunk_bytes=st.integers(1, 200),
)
def test_the_kind_is_found_by_content_alone(rows, form, piece, chunk_bytes):
    data, lines, texts = written(rows, form, ascii_only=True)
    found, _, originals, facts = read(data, piece=piece, chunk_bytes=chunk_bytes)
    assert ([row[0] for row in found], originals) == (lines, texts)
    one_line = form.startswith("ndjson") and len(rows) == 1
    assert facts.format == ("JSON object" if one_line else "NDJSON" if form.startswith("ndjson") else "JSON array")
    assert any("'items'" in warning for warning in facts.warnings) == (form == "inside")


BAD_LINES = [
    "foo",
    "[1]",
    "7",
    '"x"',
    "}",
    '{"at":1',
    '{"at":1,"b"',
    '{"at":1}}',
    '{"at":1}{"at":2}',
    '{"at":1,}',
    '{"at":01}',
    '{"at":1.}',
    '{"at":+1}',
    '{"at":NaN}',
    '{"at":-Infinity}',
    '{"at":tru}',
    '{"at":"\t"}',
    r'{"at":"\x41"}',
    r'{"at":"\ud800"}',
    r'{"at":"\udc00\ud800"}',
    r'{"\ud800":1}',
    '{"at":1,"at":2}',
    r'{"at":1,"\u0061t":2}',
    '{"at":1,"x":{},"x":{}}',
    "{'at':1}",
    '{"at":' + "[" * 300 + "]" * 300 + "}",
    '{"at":' + "[" * 20_000,
]


@given(
    rows=st.lists(ROW, min_size=4, max_size=8),
    bad=st.sampled_from(BAD_LINES),
    at=st.integers(0, 8),
    chunk_bytes=st.integers(1, 200),
)
def test_a_bad_line_is_told_alone_and_its_neighbours_are_read(rows, bad, at, chunk_bytes):
    at = min(at, len(rows))
    lines = [json.dumps(row) for row in rows]
    data = "\n".join([*lines[:at], bad, *lines[at:]]).encode()
    found, malformed, originals, facts = read(data, piece=100_000, chunk_bytes=chunk_bytes, contract=JSON)
    assert facts.format == "NDJSON"
    assert malformed == [(at + 1, bad)]
    assert originals == lines
    assert [row[0] for row in found] == [n + 1 if n < at else n + 2 for n in range(len(rows))]


@given(
    rows=st.lists(ROW, max_size=6),
    bad=st.sampled_from(["7", '"x"', "null", "[1,[2]]", '{"at":NaN}', '{"at":01}', '{"at":1,"at":1}', '{"at" 1}']),
    at=st.integers(0, 6),
    chunk_bytes=st.integers(1, 200),
)
def test_an_element_that_is_no_row_is_told_alone(rows, bad, at, chunk_bytes):
    at = min(at, len(rows))
    texts = [json.dumps(row) for row in rows]
    data = ("[" + ",\n".join([*texts[:at], bad, *texts[at:]]) + "]").encode()
    found, malformed, originals, _ = read(data, chunk_bytes=chunk_bytes, contract=JSON)
    assert malformed == [(at + 1, bad)]
    assert originals == texts
    assert [row[0] for row in found] == [n + 1 if n < at else n + 2 for n in range(len(rows))]


@pytest.mark.parametrize("form", [*FORMS, "inside"])
@pytest.mark.parametrize("contract", [ABC, JSON], ids=["found out", "given"])
def test_a_file_that_is_cut_off_anywhere_never_passes_for_whole(form, contract):
    rows = [{"at": "2024", "b": 'a "b" \\ é', "c": -1.5e10}, {"at": "x", "b": None}, {"at": "y", "x": [1, {"z": []}]}]
    data, _, _ = written(rows, form, ascii_only=False)
    for length in range(len(data.rstrip())):
        cut = data[:length]
        try:
            found, malformed, _, _ = read(cut, contract=contract, chunk_bytes=30)
        except UnreadableFile:
            continue
        assert form.startswith("ndjson"), cut
        # Whole lines are rows; one that was cut is told, unless nothing but its end is missing.
        assert len(found) + len(malformed) == sum(bool(line.strip()) for line in cut.split(b"\n"))
        assert len(found) >= cut.count(b"}\n")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b'[{"at":1},\n{"at":2}] x', "line 2", id="garbage behind"),
        pytest.param(b'[{"at":1},\n{"at":2}]\n[]', "line 3", id="another document behind"),
        pytest.param(b'[{"at":1}\n{"at":2}]', "line 2", id="a comma is missing"),
        pytest.param(b'[{"at":1},\n]', "line 2", id="a comma too much"),
        pytest.param(b'[{"at":1},\n}]', "line 2", id="a bracket of the wrong kind"),
        pytest.param(b'[{"at":1},\n{"at":2}', "line 2", id="cut off"),
        pytest.param(b"[" * 100_000, "nested deeper", id="a bomb of brackets"),
        pytest.param(b'{"at":' * 100_000, "nested deeper", id="a bomb of braces"),
        pytest.param(b'[{"at":1},' + b"[" * 100_000 + b"]" * 100_000 + b"]", "nested deeper", id="a bomb inside"),
        pytest.param(b'[{"at":1},\n{"at":"\xff"}]', "line 2", id="not UTF-8"),
        pytest.param(b'{"at":1}\n{"at":"\xff"}\n', "line 2", id="a line that is not UTF-8"),
        pytest.param(b'{\n"at":1\n}\n{\n"at":2\n}\n', "line 4", id="objects one after the other over many lines"),
        pytest.param(b'[{"b":1},{"c":2}]', "'at'", id="no row has a required column"),
        pytest.param(b'{"n":1,\n"b":[{"at":1}],\n"d":[{"at":2}]}', "line 3", id="an object with two arrays of objects"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(data, says):
    with pytest.raises(UnreadableFile) as error:
        read(data, piece=50_000)
    assert says in error.value.message
    assert error.value.hint


@given(
    start=st.sampled_from([b"[", b"{", b'{"', b'[{"at":', b'[{"at":1},', b'{"at":1}\n', b'{"d":{"i":[{"at":1},']),
    rest=st.one_of(
        st.binary(max_size=60), st.text(st.sampled_from('[]{}",:\\ 01e-.nul\nat\u20ac'), max_size=60).map(str.encode)
    ),
    options=st.sampled_from([{}, {"type": "json"}, {"type": "json", "record_path": "d.i"}]),
    chunk_bytes=st.integers(1, 100),
)
def test_noise_is_read_or_refused_and_nothing_else_happens(start, rest, options, chunk_bytes):
    contract = contract_of({"b": OPTIONAL}, format=options)
    try:
        reader = open_rows(in_pieces(start + rest, 5), contract=contract, chunk_bytes=chunk_bytes)
        for chunk in reader.chunks():
            assert len(chunk.lines) == chunk.cells.height
    except UnreadableFile:
        pass


@given(
    st.lists(
        st.text(st.sampled_from('{}"at,:\\ 01e-.nul'), max_size=12).map(lambda inside: f'{{"at":{inside}}}'),
        min_size=1,
        max_size=6,
    )
)
def test_a_line_is_a_row_exactly_if_a_strict_parser_says_so(lines):
    data = "\n".join(['{"at":0}', *lines, '{"at":0}']).encode()
    found, malformed, _, _ = read(data, chunk_bytes=1000, contract=JSON)
    expected = [number for number, line in enumerate(lines, 2) if is_object(line)]
    assert [row[0] for row in found][1:-1] == expected
    assert [line for line, _ in malformed] == [n for n in range(2, len(lines) + 2) if n not in expected]


def is_object(text: str) -> bool:
    outermost = []

    def keep(pairs):
        outermost[:] = [key for key, _ in pairs]
        return dict(pairs)

    def refuse(word):
        raise ValueError(word)

    try:
        value = json.loads(text, object_pairs_hook=keep, parse_constant=refuse)
    except ValueError:
        return False
    return isinstance(value, dict) and len(set(outermost)) == len(outermost)
