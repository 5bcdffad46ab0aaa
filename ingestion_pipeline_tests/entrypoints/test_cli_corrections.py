"""`replay`, `undo`, and what `resubmit` and `upload --replaces` refuse, over the real ledger; nothing else runs."""

import io
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from uuid import uuid4

import pytest

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.domain.job import Cause, Lane, Outcome, Priority
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline_tests.conftest import LedgerDatabase
from ingestion_pipeline_tests.entrypoints.command_line import Call, caller
from ingestion_pipeline_tests.entrypoints.runs import DAY, Runs

DAYS = ("--from", "2013-03-01", "--to", "2013-03-03")


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres: LedgerDatabase
) -> Call:
    for name, value in {
        "DATA_DIR": str(tmp_path),
        "LEDGER_URL": postgres.pipeline_url,
        "DAGSTER_URL": "http://127.0.0.1:1",
        "S3_ENDPOINT_URL": "http://127.0.0.1:1",
        "S3_BUCKET": "ingestion",
    }.items():
        monkeypatch.setenv(f"INGESTION_{name}", value)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return caller(capsys)


@pytest.fixture
def runs(postgres: LedgerDatabase) -> Iterator[Runs]:
    """Runs over the files of an organization that no other test uses."""
    ledger = Ledger(postgres.pipeline_url)
    name = f"fixes-{uuid4().hex[:12]}"
    ledger.discovery.add_organization(name)
    yield Runs(ledger, name)
    ledger.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fixed.csv"
    path.write_text("origin\nEWR\n")
    return path


class Terminal(io.StringIO):
    """A person who answers."""

    def isatty(self) -> bool:
        return True


# Replaying one job


def test_a_replay_is_a_new_row_that_says_what_it_is_about(call: Call, runs: Runs) -> None:
    job_id = runs.loaded("flights.csv")
    answer = call("replay", job_id[:8], "--priority", "high", "--json")
    assert answer.code == 0, answer.err
    (order,) = answer.json
    assert (order["parent_job_id"], order["takes_out"], order["rows"]) == (job_id, [job_id], 400)
    made = runs.job(order["job_id"])
    assert (made.cause, made.parent_job_id, made.lane, made.priority) == (
        Cause.REPLAY, job_id, Lane.LIVE, Priority.HIGH
    )  # fmt: skip
    assert (made.object_key, made.partition_day) == (runs.job(job_id).object_key, DAY)
    assert "take the place of the 400 rows of job" in answer.err


def test_a_replay_says_that_the_corrections_of_the_file_go_too(call: Call, runs: Runs) -> None:
    job_id = runs.loaded("flights.csv", accepted=375, rejected=25)
    fix = runs.fixed(job_id, "fix.csv", accepted=20)
    answer = call("replay", job_id)
    assert answer.code == 0, answer.err
    assert f"the 375 rows of job {job_id[:8]} (flights.csv) and the 20 rows of job {fix[:8]} (fix.csv)" in answer.out
    assert "Its corrected rows go too" in answer.out


@pytest.mark.parametrize("as_url", [False, True], ids=["key", "s3 url"])
def test_a_key_means_its_newest_job_that_is_final(call: Call, runs: Runs, as_url: bool) -> None:
    loaded = runs.loaded("flights.csv")
    key = runs.job(loaded).object_key
    runs.enter("flights.csv")  # a newer version, which waits
    (order,) = call("replay", f"s3://ingestion/{key}" if as_url else key, "--json").json
    assert order["parent_job_id"] == loaded


def test_a_key_that_was_undone_is_loaded_again(call: Call, runs: Runs) -> None:
    job_id = runs.loaded("flights.csv")
    (undone,) = call("undo", job_id, "--yes", "--json").json
    runs.load(undone["job_id"])
    answer = call("replay", runs.job(job_id).object_key, "--json")
    assert answer.code == 0, answer.err
    assert (answer.json[0]["parent_job_id"], answer.json[0]["takes_out"]) == (job_id, [])
    assert "completed/undone) is loaded again." in answer.err


def test_a_failed_job_is_loaded_again(call: Call, runs: Runs) -> None:
    job_id = runs.failed(runs.enter("flights.csv"), UnreadableFile("No."))
    answer = call("replay", job_id)
    assert (answer.code, "(flights.csv, failed/unreadable) is loaded again." in answer.out) == (0, True)


def test_what_was_to_replace_a_job_still_does_when_it_is_replayed(call: Call, runs: Runs) -> None:
    old = runs.loaded("old.csv")
    new = runs.announced("new.csv", replaces=old)
    runs.failed(new, UnreadableFile("No."))
    answer = call("replay", new, "--json")
    (order,) = answer.json
    assert order["takes_out"] == [old]
    runs.load(order["job_id"])
    assert runs.job(old).outcome == Outcome.REPLACED


def test_dry_run_enters_nothing(call: Call, runs: Runs) -> None:
    job_id = runs.loaded("flights.csv")
    answer = call("replay", job_id, "--dry-run", "--json")
    assert (answer.code, answer.json[0]["job_id"], answer.json[0]["takes_out"]) == (0, None, [job_id])
    assert runs.ledger.corrections.open_changes([job_id]) == {}


@pytest.mark.parametrize("command", [("replay",), ("undo", "--yes")], ids=["replay", "undo"])
def test_unfinished_work_is_not_corrected(call: Call, runs: Runs, command: tuple[str, ...]) -> None:
    job_id = runs.enter("flights.csv")
    answer = call(*command, job_id)
    assert answer.code == 1
    assert f"Job {job_id[:8]} is still at work (pending)." in answer.err
    assert f"`ingestion-pipeline status {job_id[:8]}`" in answer.err


@pytest.mark.parametrize("command", [("replay",), ("undo", "--yes")], ids=["replay", "undo"])
def test_a_replaced_job_names_the_last_of_its_successors(call: Call, runs: Runs, command: tuple[str, ...]) -> None:
    first = runs.loaded("flights.csv")
    second = runs.load(call("replay", first, "--json").json[0]["job_id"])
    third = runs.load(call("replay", second, "--json").json[0]["job_id"])
    answer = call(*command, first)
    assert answer.code == 1
    assert f"Job {first[:8]} was replaced by job {third[:8]}." in answer.err
    assert f"`ingestion-pipeline {command[0]} {third[:8]}`" in answer.err


@pytest.mark.parametrize(("open_one", "told"), [("replay", "A replay"), ("undo", "An undo")])
@pytest.mark.parametrize("command", [("replay",), ("undo", "--yes")], ids=["replay", "undo"])
def test_one_change_at_a_time(call: Call, runs: Runs, open_one: str, told: str, command: tuple[str, ...]) -> None:
    job_id = runs.loaded("flights.csv")
    (order,) = call(open_one, job_id, *(["--yes"] if open_one == "undo" else []), "--json").json
    answer = call(*command, job_id)
    assert answer.code == 1
    assert f"{told} of job {job_id[:8]} has not ended yet: job {order['job_id'][:8]}." in answer.err


def test_an_undo_is_not_replayed(call: Call, runs: Runs) -> None:
    job_id = runs.loaded("flights.csv")
    undone = runs.load(call("undo", job_id, "--yes", "--json").json[0]["job_id"])
    answer = call("replay", undone)
    assert (answer.code, f"Replay {job_id[:8]}, which it undid." in answer.err) == (1, True)


def test_a_correction_is_not_replayed_by_itself(call: Call, runs: Runs) -> None:
    job_id = runs.loaded("flights.csv", rejected=25)
    fix = runs.fixed(job_id, "fix.csv", accepted=20)
    answer = call("replay", fix)
    assert (answer.code, f"`resubmit {job_id[:8]} FILE`, after `undo`" in answer.err) == (1, True)


def test_a_duplicate_names_the_job_that_has_the_rows(call: Call, runs: Runs) -> None:
    first = runs.loaded("flights.csv")
    second = runs.ended("again.csv", Outcome.DUPLICATE, duplicate_of=first)
    answer = call("replay", second)
    assert (answer.code, f"Replay {first[:8]}." in answer.err) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("abcd", *DAYS),
        ("abcd", "-d", "flights"),
        ("--from", "2013-03-01", "--to", "2013-03-01"),
        ("-d", "flights", "--from", "2013-03-01"),
        ("-d", "flights", "--from", "2013-03-02", "--to", "2013-03-01"),
        ("abcd", "--priority", "soon"),
    ],
)
def test_a_replay_is_of_one_job_or_of_days(call: Call, words: tuple[str, ...]) -> None:
    assert call("replay", *words).code == 2


# Replaying days


def test_days_are_replayed_behind_live_files(call: Call, runs: Runs) -> None:
    inside = [runs.loaded(f"{n}.csv", day=date(2013, 3, n)) for n in (1, 2, 3)]
    runs.loaded("later.csv", day=date(2013, 3, 4))
    runs.failed(runs.enter("broken.csv"), UnreadableFile("No."))
    answer = call("replay", "-d", "flights", *DAYS, "-o", runs.organization, "--json")
    assert answer.code == 0, answer.err
    assert {order["parent_job_id"] for order in answer.json} == set(inside)
    made = [runs.job(order["job_id"]) for order in answer.json]
    assert {(job.lane, job.priority, job.cause) for job in made} == {(Lane.BACKFILL, Priority.LOW, Cause.REPLAY)}


def test_days_can_be_looked_at_first(call: Call, runs: Runs) -> None:
    first = runs.loaded("1.csv", accepted=375, rejected=25)
    runs.fixed(first, "fix.csv", accepted=20)
    runs.loaded("2.csv", day=date(2013, 3, 2))
    words = ("replay", "-d", "flights", *DAYS, "-o", runs.organization, "--dry-run")
    answer = call(*words)
    assert [line.split() for line in answer.out.splitlines()[1:3]] == [
        ["2013-03-01", "1", "395"], ["2013-03-02", "1", "400"]
    ]  # fmt: skip
    assert "2 files are loaded again; their rows take the place of 795 rows, 20 of them brought by 1 corr" in answer.out
    assert len(call(*words, "--json").json) == 2
    assert len(call(*words, "--json").json) == 2, "nothing was entered"


def test_files_that_a_change_is_about_are_left_alone(call: Call, runs: Runs) -> None:
    busy, free = runs.loaded("1.csv"), runs.loaded("2.csv")
    call("undo", busy, "--yes")
    answer = call("replay", "-d", "flights", *DAYS, "-o", runs.organization, "--json")
    assert [order["parent_job_id"] for order in answer.json] == [free]
    assert "1 file left alone" in answer.err


def test_days_without_files_are_no_error(call: Call, runs: Runs) -> None:
    answer = call("replay", "-d", "flights", *DAYS, "-o", runs.organization)
    assert (answer.code, "No file of these days" in answer.out) == (0, True)


def test_days_of_what_does_not_exist_are_refused(call: Call, runs: Runs) -> None:
    assert "no datasource 'flihgts'" in call("replay", "-d", "flihgts", *DAYS).err
    assert "no organization 'nobody'" in call("replay", "-d", "flights", *DAYS, "-o", "nobody").err


# Undo


def test_an_undo_shows_what_goes_and_enters_a_row(call: Call, runs: Runs) -> None:
    job_id = runs.loaded("flights.csv", accepted=375, rejected=25)
    fix = runs.fixed(job_id, "fix.csv", accepted=20)
    answer = call("undo", job_id[:8], "--yes", "--json")
    assert answer.code == 0, answer.err
    assert f"the 375 rows of job {job_id[:8]} (flights.csv) and the 20 rows of job {fix[:8]}" in answer.err
    (order,) = answer.json
    assert (set(order["takes_out"]), order["rows"]) == ({job_id, fix}, 395)
    made = runs.job(order["job_id"])
    assert (made.cause, made.parent_job_id, made.replaces_job_id) == (Cause.UNDO, job_id, job_id)
    runs.load(made.job_id)
    assert {runs.job(gone).outcome for gone in (job_id, fix)} == {Outcome.UNDONE}


@pytest.mark.parametrize(("said", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_an_undo_asks_a_person(call: Call, runs: Runs, monkeypatch: pytest.MonkeyPatch, said: str, code: int) -> None:
    job_id = runs.loaded("flights.csv")
    monkeypatch.setattr(sys, "stdin", Terminal(said))
    answer = call("undo", job_id)
    assert answer.code == code
    assert "Take them out?" in answer.err
    assert bool(runs.ledger.corrections.open_changes([job_id])) == (code == 0)


def test_an_undo_that_nobody_can_confirm_needs_yes(call: Call, runs: Runs) -> None:
    job_id = runs.loaded("flights.csv")
    answer = call("undo", job_id)
    assert (answer.code, f"`undo {job_id[:8]} --yes`" in answer.err) == (1, True)
    assert runs.ledger.corrections.open_changes([job_id]) == {}


def test_what_holds_no_rows_is_not_undone(call: Call, runs: Runs) -> None:
    failed = runs.failed(runs.enter("flights.csv"), UnreadableFile("No."))
    assert "has no rows in Druid: it ended as failed/unreadable." in call("undo", failed, "--yes").err
    job_id = runs.loaded("flights2.csv")
    undone = runs.load(call("undo", job_id, "--yes", "--json").json[0]["job_id"])
    assert f"it was undone already by job {undone[:8]}." in call("undo", job_id, "--yes").err
    assert "is an undo itself" in call("undo", undone, "--yes").err


def test_a_key_means_the_job_that_has_its_rows(call: Call, runs: Runs) -> None:
    loaded = runs.loaded("flights.csv")
    (again,) = call("replay", loaded, "--json").json
    runs.failed(again["job_id"], UnreadableFile("No."))
    (order,) = call("undo", runs.job(loaded).object_key, "--yes", "--json").json
    assert order["parent_job_id"] == loaded


def test_waiting_ends_with_3_when_it_is_not_done_in_time(call: Call, runs: Runs) -> None:
    answer = call("undo", runs.loaded("flights.csv"), "--yes", "--wait", "--timeout", "0.1")
    assert (answer.code, "Not done in time: flights.csv." in answer.out) == (3, True)


# What `resubmit` and `upload --replaces` refuse before anything is sent


def test_nothing_is_resubmitted_where_nothing_is_open(call: Call, runs: Runs, file: Path) -> None:
    clean = runs.loaded("clean.csv")
    assert f"Job {clean[:8]} has no rejected rows." in call("resubmit", clean, file).err
    job_id = runs.loaded("flights.csv", rejected=20)
    fix = runs.fixed(job_id, "fix.csv", accepted=20)
    answer = call("resubmit", job_id, file)
    assert answer.code == 1
    assert f"All 20 rejected rows of job {job_id[:8]} are fixed already, by job {fix[:8]}." in answer.err


def test_nothing_is_resubmitted_to_a_file_without_rows(call: Call, runs: Runs, file: Path) -> None:
    job_id = runs.loaded("flights.csv", rejected=20)
    undone = runs.load(call("undo", job_id, "--yes", "--json").json[0]["job_id"])
    answer = call("resubmit", job_id, file)
    assert answer.code == 1
    assert f"Job {job_id[:8]} has no rows in Druid to add corrected ones to" in answer.err
    assert f"undone by job {undone[:8]}" in answer.err


def replacing(file: Path, job_id: str, runs: Runs, *more: object) -> tuple[object, ...]:
    return ("upload", file, "-d", "flights", "-o", runs.organization, "--replaces", job_id, *more)


def test_a_file_takes_the_place_of_a_finished_job_that_has_its_rows(call: Call, runs: Runs, file: Path) -> None:
    waiting = runs.enter("waiting.csv")
    assert f"Job {waiting[:8]} is still at work (pending)." in call(*replacing(file, waiting, runs)).err
    first = runs.loaded("first.csv", rejected=2)
    fix = runs.fixed(first, "fix.csv", accepted=1)
    assert f"`--replaces {first[:8]}` takes the place of the whole" in call(*replacing(file, fix, runs)).err
    second = runs.load(call("replay", first, "--json").json[0]["job_id"])
    assert f"`--replaces {second[:8]}`." in call(*replacing(file, first, runs)).err
    undone = runs.load(call("undo", second, "--yes", "--json").json[0]["job_id"])
    answer = call(*replacing(file, second, runs))
    assert answer.code == 1
    assert f"Job {second[:8]} was undone by job {undone[:8]}." in answer.err
    assert "without --replaces" in answer.err


def test_a_file_takes_the_place_of_its_own_kind_only(call: Call, runs: Runs, file: Path) -> None:
    weather = runs.loaded("weather.csv", datasource="weather")
    assert "datasource weather" in call(*replacing(file, weather, runs)).err
    mine = runs.loaded("flights.csv")
    other = f"other-{uuid4().hex[:8]}"
    runs.ledger.discovery.add_organization(other)
    answer = call("upload", file, "-d", "flights", "-o", other, "--replaces", mine)
    assert (answer.code, f"belongs to organization {runs.organization}" in answer.err) == (1, True)


def test_one_file_takes_the_place_of_one_job(call: Call, runs: Runs, file: Path) -> None:
    assert call(*replacing(file, "abcd", runs, file)).code == 2


# What `status` and `jobs` tell of a family


def test_status_tells_how_many_rejected_rows_are_open(call: Call, runs: Runs) -> None:
    job_id = runs.loaded("flights.csv", rejected=25)
    assert "25 rejected, all open" in call("status", job_id).out
    first = runs.fixed(job_id, "fix.csv", accepted=20, rejected=5)
    page = call("status", job_id).out
    assert f"25 rejected, 20 of them fixed by job {first[:8]}, 5 open" in page
    assert f"`ingestion-pipeline resubmit {job_id[:8]} FILE`" in page
    told = call("status", job_id, "--json").json
    assert (told["rows_open"], [member["job_id"] for member in told["family"]]) == (5, [job_id, first])
    second = runs.fixed(job_id, "rest.csv", accepted=5)
    page = call("status", job_id).out
    assert f"25 rejected, all fixed by job {first[:8]}, {second[:8]}" in page
    assert "Nothing: every rejected row was corrected." in page
    assert f"corrected rows of job {job_id[:8]}" in call("status", first).out


def test_status_tells_who_has_taken_the_rows(call: Call, runs: Runs) -> None:
    job_id = runs.loaded("flights.csv")
    again = runs.load(call("replay", job_id, "--json").json[0]["job_id"])
    undone = runs.load(call("undo", again, "--yes", "--json").json[0]["job_id"])
    page = call("status", job_id).out
    assert f"replaced by job {again[:8]}, a replay" in page
    assert "Nothing: the rows of job" in page
    page = call("status", again).out
    assert f"a replay of job {job_id[:8]}" in page
    assert f"undone by job {undone[:8]}" in page
    assert f"`ingestion-pipeline replay {again[:8]}` loads it again." in page
    assert f"an undo of job {again[:8]}" in call("status", undone).out


def test_jobs_tells_of_the_family_in_a_line(call: Call, runs: Runs) -> None:
    job_id = runs.loaded("flights.csv", rejected=25)
    fix = runs.fixed(job_id, "fix.csv", accepted=20)
    gone = runs.loaded("gone.csv")
    undone = runs.load(call("undo", gone, "--yes", "--json").json[0]["job_id"])
    page = call("jobs", "-o", runs.organization).out.splitlines()
    lines = {line.split()[0]: line for line in page}
    assert f"25 rejected, 20 of them fixed by job {fix[:8]}, 5 open" in " ".join(page)
    assert f"corrected rows of job {job_id[:8]}" in lines[fix[:8]]
    assert f"undone by job {undone[:8]}" in lines[gone[:8]]
    rows = {job["job_id"]: job for job in call("jobs", "-o", runs.organization, "--json").json}
    assert (rows[job_id]["rows_open"], rows[fix]["parent_job_id"], rows[gone]["replaced_by"]) == (5, job_id, undone)
