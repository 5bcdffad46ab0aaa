"""The parts of the guarantee suite that decide: schedule, files, comparison. They must be right to be believed."""

import csv
import gzip
import io
from collections import Counter
from datetime import date
from random import Random

import pytest

from ingestion_pipeline_tests.guarantees.suite import checks, content, schedule
from ingestion_pipeline_tests.guarantees.suite.content import Row
from ingestion_pipeline_tests.guarantees.suite.model import Model
from ingestion_pipeline_tests.guarantees.suite.schedule import LONG_SECONDS, MAX_LONG
from ingestion_pipeline_tests.guarantees.suite.surroundings import DATASOURCES


def test_one_seed_is_one_schedule() -> None:
    first = schedule.make(seed=7, files=200, kills=60)
    assert first == schedule.make(seed=7, files=200, kills=60)
    assert first != schedule.make(seed=8, files=200, kills=60)
    assert list(first.lines()) == list(schedule.make(seed=7, files=200, kills=60).lines())


def test_a_long_schedule_hits_everything_and_is_rarely_long_about_it() -> None:
    plan = schedule.make(seed=1, files=10, kills=60)
    assert len(plan.strikes) == 60
    hit = {strike.target.split(":")[0] for strike in plan.strikes}
    assert hit == {*schedule.SERVICES, schedule.WORKER, *schedule.APPEND_POINTS, *schedule.REPLACE_POINTS, "everything"}
    assert {(s.blow, s.target) for s in plan.strikes} >= {
        (blow, service) for blow in ("kill", "stop") for service in schedule.SERVICES
    }
    assert {strike.blow for strike in plan.strikes} >= {"restart", "power_cut", "away", "arm_kill", "arm_stop"}
    long = [s for s in plan.strikes if s.seconds > LONG_SECONDS and s.blow in ("away", "stop")]
    assert len(long) <= MAX_LONG
    assert max(strike.at for strike in plan.strikes) <= plan.seconds


def test_only_what_has_ended_is_undone_replayed_or_fixed() -> None:
    for item in schedule.make(seed=3, files=500, kills=0).items:
        assert item.actions[0].deed == "send"
        careful = [action for action in item.actions if action.deed in ("undo", "replay", "replace", "fix")]
        assert all(action.when == "settled" for action in careful)
        after = item.actions[item.actions.index(careful[0]) + 1 :] if careful else ()
        assert all(action.when == "settled" for action in after)


@pytest.mark.parametrize("datasource", sorted(DATASOURCES))
def test_a_file_has_the_rows_that_are_expected_of_it(datasource: str) -> None:
    made = content.make(
        Random(5),
        mark="0001.0",
        datasource=DATASOURCES[datasource],
        organization="north",
        day=date(2024, 5, 2),
        kind="good",
        rows=150,
        rejected=7,
        compressed=True,
    )
    text = gzip.decompress(made.data).decode()
    read = {row["id"]: row for row in csv.DictReader(io.StringIO(text, newline=""))}
    assert (len(read), len(made.rows), len(made.rejects)) == (157, 150, 7)
    for row in made.rows:
        cells = read[str(row[1])]
        assert (cells["at"], cells["words"], cells["place"]) == (row[0], row[3] or "", row[2] or "")
        assert float(cells["reading"]) == row[4]
    fixed = content.fix_of(made)
    assert fixed.rows == made.rejects


def test_the_model_keeps_what_survives() -> None:
    items = schedule.make(seed=3, files=300, kills=0).items
    model = Model.of(items)
    for item in items:
        one = model.items[item.number]
        for action in item.actions:
            before = one.surviving
            sent = one.next_content(action)
            one.done(action, sent)
            wanted = {"undo": (), "replay": before, "fix": (*before, *sent.rows)}.get(action.deed, sent.rows)
            assert one.surviving == wanted
    rows = [row for name in DATASOURCES for row in model.expected(name)]
    assert max(Counter(row[1] for row in rows).values()) == 1


def row(number: int, text: str = "rain") -> Row:
    return ("2024-05-01T00:00:00.000Z", f"0001.0.{number}", None, text, 1.0, number, None, None, "north")


@pytest.mark.parametrize(
    ("found", "lost", "duplicated", "wrong"),
    [
        pytest.param([row(1), row(2)], 0, 0, 0, id="equal"),
        pytest.param([row(2)], 1, 0, 0, id="lost"),
        pytest.param([row(1), row(2), row(2), row(2)], 0, 2, 0, id="doubled"),
        pytest.param([row(1), row(2), row(3)], 0, 0, 1, id="foreign"),
        pytest.param([row(1), row(2, "snow")], 1, 0, 1, id="altered"),
        pytest.param([], 2, 0, 0, id="nothing there"),
    ],
)
def test_rows_are_compared_whole_and_as_often_as_they_are_there(
    found: list[Row], lost: int, duplicated: int, wrong: int
) -> None:
    verdict = checks.compare([row(1), row(2)], found)
    assert (verdict.lost, verdict.duplicated, verdict.wrong) == (lost, duplicated, wrong)
    assert verdict.is_clean == (lost == duplicated == wrong == 0)


def job(**changes: object) -> dict[str, object]:
    return {
        "job_id": "1",
        "datasource": "d",
        "object_key": "k",
        "etag": "e",
        "cause": "discovered",
        "status": "completed",
        "outcome": "loaded",
        "step": "submit",
        "waiting_reason": None,
        "error_message": None,
        "rows_queryable": 5,
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "rows", "bad_file", "gone", "violation"),
    [
        pytest.param({}, 5, None, False, None, id="loaded"),
        pytest.param({}, 4, None, False, "untrue", id="fewer rows than the ledger says"),
        pytest.param({"outcome": "replaced"}, 5, None, False, "untrue", id="rows of a replaced job"),
        pytest.param({"status": "retrying", "outcome": None}, 0, None, False, "stuck", id="not final"),
        pytest.param({"status": "failed", "outcome": "unreadable"}, 0, "unreadable", False, None, id="a bad file"),
        pytest.param(
            {"status": "failed", "outcome": "worker_lost"}, 0, "unreadable", False, "failed", id="other reason"
        ),
        pytest.param({"status": "failed", "outcome": "unproved"}, 0, None, False, "failed", id="unproved"),
        pytest.param({"status": "failed", "outcome": "object_missing"}, 0, None, True, "lost_by_s3", id="lost by S3"),
        pytest.param({"status": "failed", "outcome": "object_missing"}, 0, None, False, "failed", id="and it is there"),
    ],
)
def test_a_job_may_end_only_as_its_file_deserves(
    changes: dict[str, object], rows: int, bad_file: str | None, gone: bool, violation: str | None
) -> None:
    verdict = checks.judge_jobs(
        [job(**changes)], counted={"1": rows}, fails_with={("k", "e"): bad_file}, is_missing={"k": gone}
    )
    found = {name for name in ("stuck", "failed", "untrue", "lost_by_s3") if getattr(verdict, name)}
    assert found == ({violation} if violation else set())
