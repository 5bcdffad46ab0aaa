"""Files on their way through the whole running system, as their senders see it."""

import csv
import gzip
import io
import json
import lzma
import zipfile

import polars as pl
import pytest

from ingestion_pipeline_tests.guarantees.system import System, loads, put_again, readings

pytestmark = pytest.mark.stack


def test_a_file_put_into_the_bucket_becomes_proved_rows(system: System) -> None:
    text = readings(500, bad=3)
    key = system.put("exports/readings/2024-05-01/first.csv", text)
    job = system.finished(key)
    assert (job["status"], job["outcome"]) == ("completed", "loaded_with_rejects")
    assert (job["rows_read"], job["rows_accepted"], job["rows_rejected"]) == (500, 497, 3)
    assert system.counted("readings", job["job_id"]) == job["rows_queryable"] == 497
    assert [event["to_status"] for event in system.events_of(job["job_id"])] == ["pending", "processing", "completed"]

    run = system.ended_run(job["run_id"])
    assert run.status == "SUCCESS"
    assert (run.tags["ingestion/origin"], run.tags["dagster/partition"]) == ("sensor", "2024-05-01")
    assert run.checks == {"rejected_fraction": True, "files_loaded": True, "rows_proved": True}
    shown = run.metadata
    assert (shown["rows_read"], shown["rows_accepted"], shown["rows_rejected"], shown["rows_queryable"]) == (
        500,
        497,
        3,
        497,
    )
    assert shown["bytes"] == len(text)
    assert shown["seconds"] > 0
    assert shown["preview"].startswith("| at | place | value |")
    assert loads(shown["job_ids"]) == [job["job_id"]]
    assert shown["druid_task_ids"] == job["attempt_id"] == system.attempts_of(job["job_id"])[0]["attempt_id"]

    place = job["quarantine_url"].removeprefix(f"s3://{system.bucket.bucket}/")
    rejected = list(csv.DictReader(io.StringIO(system.bucket.get(place).decode())))
    assert {(row["line"], row["column"], row["value"]) for row in rejected} == {
        ("499", "value", "1497"),
        ("500", "value", "1498"),
        ("501", "value", "1499"),
    }
    assert {row["rule"] for row in rejected} == {"in_range"}


def test_texts_arrive_exactly_as_they_were_sent(system: System) -> None:
    words = ["two\nlines", 'a "quote", and a comma', "", None, "crème brûlée – 東京 – 🚀", "back\\slash\tand tab", " "]
    cells = ['"' + text.replace('"', '""') + '"' if text is not None else "" for text in words]
    lines = [f"2024-05-01T00:00:{number:02}Z,{number},{cell}" for number, cell in enumerate(cells)]
    key = system.put("exports/texts/2024-05-01/words.csv", "at,id,words\n" + "\n".join(lines) + "\n")
    job = system.finished(key)
    assert (job["outcome"], job["rows_queryable"]) == ("loaded", len(words))
    rows = system.sql(
        "SELECT id, words, words IS NULL AS absent FROM texts WHERE __job_id = ? ORDER BY __time", job["job_id"]
    )
    assert [row["words"] for row in rows] == words
    assert [bool(row["absent"]) for row in rows] == [text is None for text in words]


def _parquet(text: str) -> bytes:
    buffer = io.BytesIO()
    pl.read_csv(text.encode(), try_parse_dates=True).write_parquet(buffer)
    return buffer.getvalue()


def _zip(text: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readings.csv", text)
    return buffer.getvalue()


FORMATS = {
    "ndjson": lambda text: pl.read_csv(text.encode(), infer_schema=False).write_ndjson().encode(),
    "json": lambda text: json.dumps(pl.read_csv(text.encode(), infer_schema=False).to_dicts(), indent=1).encode(),
    "parquet": _parquet,
    "zip": _zip,
    "csv.xz": lambda text: lzma.compress(text.encode()),
    "odd.txt": lambda text: ("Readings of the roof\n\n" + text.replace(",", ";") + "Source: the roof").encode("utf-16"),
}


def test_files_of_every_format_are_told_by_their_content_and_loaded(system: System) -> None:
    keys = {}
    for second, (name, written) in enumerate(FORMATS.items()):
        text = readings(60, place=f"place {second}", bad=2)
        # The names say nothing true.
        keys[name] = system.put(f"exports/readings/2024-05-01/format-{second}.csv", written(text))
    jobs = {name: system.finished(key) for name, key in keys.items()}
    assert {name: (job["status"], job["outcome"]) for name, job in jobs.items()} == dict.fromkeys(
        FORMATS, ("completed", "loaded_with_rejects")
    )
    for job in jobs.values():
        assert (job["rows_read"], job["rows_rejected"]) == (60, 2)
        assert system.counted("readings", job["job_id"]) == job["rows_queryable"] == 58
    assert jobs["odd.txt"]["result"]["format"]["preamble"] == ["Readings of the roof", ""]
    assert jobs["odd.txt"]["result"]["format"]["footer"] == ["Source: the roof"]


def test_bad_files_of_a_batch_fail_alone_each_with_its_own_error(system: System) -> None:
    names = [f"exports/batches/2024-05-01/{number:02}" for number in range(20)]
    keys = [f"{name}.csv.gz" if position % 2 else f"{name}.csv" for position, name in enumerate(names)]
    broken, binary, deleted = keys[5], keys[8], keys[13]
    system.faults.begin("hold_dispatch")
    try:
        for position, key in enumerate(keys):
            data = readings(50, place=f"place {position}").encode()
            if key.endswith(".gz"):
                data = gzip.compress(data)
            if key == broken:
                data = data[: len(data) // 2]
            if key == binary:
                data = bytes(range(256)) * 40
            system.put(key, data)
        system.until("20 discovered files", lambda: all(system.jobs_of(key) for key in keys))
        system.bucket.delete([deleted])
    finally:
        system.faults.end("hold_dispatch")
    jobs = {key: system.finished(key) for key in keys}
    assert {job["run_id"] for job in jobs.values()} == {jobs[broken]["run_id"]}
    failed = {key: (job["outcome"], job["error_code"]) for key, job in jobs.items() if job["status"] == "failed"}
    assert failed == {
        broken: ("unreadable", "unreadable"),
        binary: ("unreadable", "unreadable"),
        deleted: ("object_missing", "object_missing"),
    }
    assert len({jobs[key]["error_message"] for key in (broken, binary, deleted)}) == 3
    good = [job for key, job in jobs.items() if key not in failed]
    assert [(job["outcome"], job["tries"], job["rows_queryable"]) for job in good] == [("loaded", 1, 50)] * 17
    assert system.counted("batches") == 17 * 50
    run = system.ended_run(jobs[broken]["run_id"])
    assert run.status == "SUCCESS"
    assert run.parent_run_id is None
    assert run.checks == {"rejected_fraction": True, "files_loaded": False, "rows_proved": True}


def test_an_unchanged_object_is_a_duplicate(system: System) -> None:
    key, text = "exports/twins/2024-05-01/daily.csv", readings(40)
    first = put_again(system, key, text)
    assert first["outcome"] == "loaded"

    again = put_again(system, key, text)
    assert (again["status"], again["outcome"], again["rows_queryable"]) == ("completed", "duplicate", 0)
    assert again["result"]["duplicate_of"] == first["job_id"]
    assert system.ended_run(again["run_id"]).status == "SUCCESS"

    assert system.counted("twins") == system.counted("twins", first["job_id"]) == 40
    assert system.attempts_of(again["job_id"]) == []
