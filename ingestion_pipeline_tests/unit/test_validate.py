"""Validation of a whole file: every row is accounted for, every broken rule is told, and nothing else."""

import gzip
import hashlib
import json
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.errors import NoAcceptedRows, TooManyRejects, UnreadableFile
from ingestion_pipeline.stages.validate import ValidationReport, validate
from ingestion_pipeline.stages.validate.uniqueness import UniqueKeys
from ingestion_pipeline_tests.unit.contracts import KeptRows, contract_of, in_pieces

THINGS = contract_of(
    {
        "n": {"type": "integer", "checks": {"in_range": [0, 99]}},
        "word": {"type": "string", "nullable": True, "checks": {"str_matches": "^[a-z\\s]*$"}},
        "price": {"type": "float", "nullable": True},
    },
    checks=[{"name": "cheap_or_small", "expr": "price < 10 OR n < 10", "description": "Big things are cheap."}],
    unique=["n", "word"],
    druid={"segment_granularity": "month"},
)
HEADER = "at,n,word,price\n"
GOOD = "2024-05-01T10:00:00Z,1,ok,1.5\n"


def check(text: str | bytes, *, contract=THINGS, piece: int = 1000, chunk_bytes: int = 8 << 20):
    sink = KeptRows()
    data = text.encode() if isinstance(text, str) else text
    report = validate(in_pieces(data, piece), contract=contract, name="things.csv", sink=sink, chunk_bytes=chunk_bytes)
    assert report.rows_read == report.rows_accepted + report.rows_rejected + report.rows_filtered
    assert report.rows_accepted == sum(part.height for part in sink.parts)
    assert report.rows_rejected == len({line for line, _, _ in sink.broken})
    return report, sink


@pytest.mark.parametrize(
    ("row", "column", "rule", "value"),
    [
        ("2024-05-01T10:00:00Z,x,ok,1", "n", "type", "x"),
        ("2024-05-01T10:00:00Z,1.0,ok,1", "n", "type", "1.0"),
        ("2024-05-01T10:00:00Z,9223372036854775808,ok,1", "n", "type", "9223372036854775808"),
        ("2024-05-01T25:00:00Z,2,ok,1", "at", "type", "2024-05-01T25:00:00Z"),
        (",2,ok,1", "at", "not_null", None),
        ("2024-05-01T10:00:00Z,,ok,1", "n", "not_null", None),
        ('2024-05-01T10:00:00Z,"  ",ok,1', "n", "not_null", "  "),
        ("2024-05-01T10:00:00Z,100,ok,1", "n", "in_range", "100"),
        ("2024-05-01T10:00:00Z,2,OK,1", "word", "str_matches", "OK"),
        ("2024-05-01T10:00:00Z,2,ok,nan", "price", "finite", "nan"),
        ("2024-05-01T10:00:00Z,2,ok,1e999", "price", "finite", "1e999"),
        ("1899-12-31T23:59:59Z,2,ok,1", "at", "time_range", "1899-12-31T23:59:59Z"),
        ("2100-01-01T00:00:00Z,2,ok,1", "at", "time_range", "2100-01-01T00:00:00Z"),
        ("2024-05-01T10:00:00Z,50,ok,10", "price, n", "cheap_or_small", "price=10, n=50"),
        ("2024-05-01T11:00:00Z,1,ok,2", "n, word", "unique", "n=1, word=ok"),
        ("2024-05-01T10:00:00Z,2,ok", "", "row_shape", None),
        ("2024-05-01T10:00:00Z,2,ok,1,", "", "row_shape", None),
        ('2024-05-01T10:00:00Z,2,"ok"x,1', "", "row_shape", None),
    ],
)
def test_a_row_that_breaks_a_rule_is_rejected_with_line_column_rule_value_and_text(row, column, rule, value):
    report, sink = check(HEADER + GOOD + row + "\n" + GOOD.replace(",1,", ",3,"))
    (rejected,) = sink.rejects
    assert rejected.drop("reason").rows() == [(3, column, rule, value, row)]
    assert rejected["reason"][0]
    assert report.rule_counts == [{"column": column, "rule": rule, "count": 1}]
    assert sink.rows["n"].to_list() == [1, 3]


def test_a_row_that_breaks_several_rules_is_told_each_and_counts_once():
    report, sink = check(HEADER + GOOD + "x,100,OK,nan\n")
    assert [(column, rule) for _, column, rule in sink.broken] == [
        ("at", "type"),
        ("n", "in_range"),
        ("word", "str_matches"),
        ("price", "finite"),
        ("price, n", "cheap_or_small"),
    ]
    assert (report.rows_read, report.rows_rejected) == (2, 1)


def test_the_text_of_a_row_stands_at_the_first_rule_that_it_breaks_only():
    _, sink = check(HEADER + "x,100,OK,nan\n" + GOOD + "cut\ny,1,ok,inf\n")
    (rejected,) = sink.rejects
    assert rejected.filter(pl.col("row").is_not_null()).select("line", "column", "row").rows() == [
        (2, "at", "x,100,OK,nan"),
        (4, "", "cut"),
        (5, "at", "y,1,ok,inf"),
    ]
    assert rejected["line"].to_list() == [2] * 5 + [4] + [5] * 2


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.sampled_from(["x,100,OK,nan", GOOD.rstrip(), "cut", 'y,1,"a\nb",inf', "x,1,ok,1"]), max_size=30),
    entries=st.integers(1, 12),
)
def test_rejects_come_in_small_frames_and_are_the_same_as_in_one(rows, entries):
    def rejects() -> list[pl.DataFrame]:
        return check(HEADER + GOOD + "".join(row + "\n" for row in rows))[1].rejects

    whole = rejects()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ingestion_pipeline.stages.validate.rejects.MAX_ENTRIES", entries)
        parts = rejects()
    assert len(whole) <= 1
    assert len(parts) >= len(whole)
    assert all(part.height <= entries or part.n_unique("line") == 1 for part in parts)
    assert [row for part in parts for row in part.rows()] == [row for frame in whole for row in frame.rows()]


def test_a_rejected_row_claims_no_key():
    _, sink = check(HEADER + "2024-05-01T10:00:00Z,1,ok,nan\n" + GOOD + GOOD)
    assert sink.broken == [(2, "price", "finite"), (4, "n, word", "unique")]
    assert sink.rejects[0]["reason"][1] == "repeats line 3"


def test_a_key_with_a_null_in_it_repeats_nothing():
    report, _ = check(HEADER + "2024-05-01T10:00:00Z,1,,1\n" * 2)
    assert report.rows_rejected == 0


def test_null_and_empty_text_stay_apart_and_typed_cells_forgive_spaces():
    _, sink = check(HEADER + '2024-05-01T10:00:00Z, 7 ,"",""\n2024-05-01T10:00:00Z,8,,\n')
    assert sink.rows.select("n", "word", "price").rows() == [(7, "", None), (8, None, None)]


def test_the_report_says_what_was_found():
    data = gzip.compress((HEADER + GOOD + "2024-06-30T23:59:59Z,2,\u00e9,\n" + "2024-05-02T00:00:00Z,3,,2\n").encode())
    report, _ = check(data, piece=10)
    assert (report.rows_read, report.rows_accepted, report.rows_rejected) == (3, 2, 1)
    assert report.size_bytes == len(data)
    assert report.content_hash == hashlib.sha256(data).hexdigest()
    assert report.format["compression"] == "gzip"
    assert (report.time_min, report.time_max) == (
        datetime(2024, 5, 1, 10, tzinfo=UTC),
        datetime(2024, 5, 2, tzinfo=UTC),
    )
    assert report.time_chunks == [datetime(2024, 5, 1, tzinfo=UTC)]
    assert report.preview[0] == {"at": "2024-05-01T10:00:00Z", "n": "1", "word": "ok", "price": "1.5"}
    assert report.columns["n"] == "Int64"
    assert json.loads(json.dumps(report.as_dict()))["schema"] == report.columns


def test_a_header_without_rows_is_an_empty_file_and_no_error():
    report, sink = check(HEADER)
    assert report.is_empty
    assert (sink.parts, sink.rejects) == ([], [])


def test_when_every_row_is_rejected_the_error_names_the_rule_and_the_sink_has_the_rows():
    sink = KeptRows()
    with pytest.raises(NoAcceptedRows, match="all 2 rows were rejected, most by the rule type of n") as error:
        validate([f"{HEADER}2024-05-01,x,ok,1\n2024-05-01,y,ok,1\n".encode()], contract=THINGS, name="f", sink=sink)
    assert error.value.report.rows_rejected == 2  # type: ignore[attr-defined]
    assert sink.broken == [(2, "n", "type"), (3, "n", "type")]


@pytest.mark.parametrize(
    ("policy", "too_many"),
    [({"max_rows": 1}, False), ({"max_rows": 0}, True), ({"max_fraction": 0.4}, True), ({"max_fraction": 0.5}, False)],
)
def test_more_rejects_than_the_contract_allows_fail_the_file(policy, too_many):
    contract = contract_of({"n": {"type": "integer"}}, reject=policy)
    data = [b"at,n\n2024-05-01,1\n2024-05-01,x\n"]
    sink = KeptRows()
    if not too_many:
        assert validate(data, contract=contract, name="f", sink=sink).rows_rejected == 1
        return
    with pytest.raises(TooManyRejects, match="1 of 2 rows") as error:
        validate(data, contract=contract, name="f", sink=sink)
    assert error.value.report.rows_accepted == 1  # type: ignore[attr-defined]
    assert len(sink.broken) == 1


def test_a_file_that_cannot_be_read_still_tells_its_hash():
    data = gzip.compress((HEADER + GOOD * 1000).encode())[:-20]
    with pytest.raises(UnreadableFile, match=r"'things\.csv': The gzip stream ends before its end") as error:
        check(data, piece=11)
    report: ValidationReport = error.value.report  # type: ignore[attr-defined]
    assert report.content_hash == error.value.details["content_hash"] == hashlib.sha256(data).hexdigest()


def test_the_first_errors_are_bounded_and_fit_into_a_json_column():
    # The zero character comes late: in the first bytes it would say that the file is not text.
    contract = contract_of({"n": {"type": "integer"}})
    report, _ = check("at,n\n" + "2024-05-01,1\n" * 8000 + "2024-05-01,bad\x00cell\n" * 1500, contract=contract)
    assert len(report.first_errors) == 1000
    assert "\0" not in json.dumps(report.first_errors, ensure_ascii=False)
    assert report.rule_counts[0]["count"] == 1500


def test_what_the_report_shows_of_a_file_is_bounded():
    contract = contract_of({"word": {"type": "string"}})
    extra = [f"{n}{'x' * 1000}" for n in range(500)]
    text = ",".join(["at", "word", *extra]) + "\n" + ",".join(["2024-05-01", "é" * 5000, *["1"] * 500]) + "\n"
    report, _ = check(text, contract=contract)
    assert report.preview == [{"at": "2024-05-01T00:00:00Z", "word": "é" * 500}]
    header = report.format["header"]
    assert header == [name[:200] for name in ["at", "word", *extra][:200]]
    assert (report.format["columns"], report.format["header_is_whole"]) == (502, False)
    assert any("502 names" in warning for warning in report.warnings)


@pytest.mark.parametrize("header", [["word", "word", "at"], ["word"]], ids=["repeated", "missing"])
def test_a_header_that_is_refused_is_told_in_part(header):
    header = [*header, *(f"{n}{'x' * 1000}" for n in range(5000))]
    with pytest.raises(UnreadableFile) as error:
        check(",".join(header) + "\n", contract=contract_of({"word": {"type": "string"}}))
    assert len(error.value.details["header"]) == 200
    assert max(len(name) for name in error.value.details["header"]) == 200
    assert error.value.details["columns"] == len(header)


def test_a_header_of_usual_names_is_kept_whole_however_many_they_are():
    header = ["at", *(f"column_{n}" for n in range(1500))]
    report, _ = check(",".join(header) + "\n", contract=contract_of())
    assert report.format["header"] == header
    assert (report.format["columns"], report.format["header_is_whole"]) == (1501, True)


def test_progress_is_told_after_each_chunk():
    seen = []
    data = (HEADER + "".join(f"2024-05-01,{n % 9},w{'x' * (n % 5)},\n" for n in range(300))).encode()
    validate(in_pieces(data, 100), contract=THINGS, name="f", sink=KeptRows(), progress=seen.append, chunk_bytes=1000)
    assert len(seen) > 3
    assert [p.rows_read for p in seen] == sorted(p.rows_read for p in seen)
    assert (seen[-1].rows_read, seen[-1].bytes_read) == (300, len(data))


ROW = st.tuples(
    st.sampled_from(["2024-05-01", "2024-06-01T00:00:00Z", "", "no"]),
    st.sampled_from(["1", "2", "3", "x", "", "100"]),
    st.sampled_from(["ok", '"a\nb"', "BAD", "", '""', 'a"b']),
    st.sampled_from(["1", "", "nan", "1,2"]),
).map(",".join)


@settings(max_examples=60)
@given(rows=st.lists(ROW, max_size=20), piece=st.integers(1, 60), chunk_bytes=st.integers(1, 300))
def test_how_a_file_is_cut_into_pieces_changes_nothing(rows, piece, chunk_bytes):
    data = (HEADER + GOOD + "".join(row + "\n" for row in rows)).encode()
    whole, whole_sink = check(data)
    cut, cut_sink = check(data, piece=piece, chunk_bytes=chunk_bytes)
    assert cut_sink.rows.equals(whole_sink.rows)
    assert cut_sink.broken == whole_sink.broken
    for report in (whole, cut):
        report.seconds = 0
    assert cut.as_dict() == whole.as_dict()


@given(
    keys=st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["a", "b", None])), max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)
def test_second_occurrences_are_found_across_chunks_runs_and_the_disk(keys, cuts):
    bounds = [0, *sorted(min(cut, len(keys)) for cut in cuts), len(keys)]
    found: list[int | None] = []
    with UniqueKeys(run_keys=4, words=(2, 8)) as unique:
        for start, end in pairwise(bounds):
            part = pl.DataFrame(keys[start:end], schema={"n": pl.Int64, "w": pl.String}, orient="row")
            found += unique.add(part, pl.int_range(start, end, dtype=pl.Int64, eager=True)).to_list()
    first: dict[tuple[int, str | None], int] = {}
    expected = [None if None in key or first.setdefault(key, at) == at else first[key] for at, key in enumerate(keys)]
    assert found == expected


def test_keys_of_a_long_file_leave_memory_and_are_known_all_the_same():
    rows = 20_000
    with UniqueKeys(run_keys=1000, words=(8, 1024)) as unique:
        before = Path("/proc/self/maps").read_text()
        for start in range(0, rows, 500):
            lines = pl.int_range(start, start + 500, dtype=pl.Int64, eager=True)
            assert unique.add(lines.to_frame("n"), lines).null_count() == 500
        again = pl.int_range(0, rows, dtype=pl.Int64, eager=True)
        found = unique.add(again.to_frame("n"), again + rows)
        after = Path("/proc/self/maps").read_text()
    assert found.equals(again)
    assert after.count("(deleted)") == before.count("(deleted)")  # of the temporary file nothing is mapped
