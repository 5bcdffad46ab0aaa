"""`why` on the real stack: files that are not loaded for real causes, each of which is told with its next step.

What belongs here: causes that can be made beside other tests. What does not: servers and workers that are stopped
(`guarantees.test_why`), every wording (`unit.test_diagnose`). All files of the module are put together, so that their
runs are waited for once.
"""

import gzip
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import requests
import zstandard

from ingestion_pipeline_tests.entrypoints.command_line import Call, caller
from ingestion_pipeline_tests.guarantees.surroundings import ORGANIZATION, readings_contract
from ingestion_pipeline_tests.guarantees.system import System, now, put_again, readings

pytestmark = pytest.mark.stack

ROWS = 40
NEEDS_A_PERSON = 5


@dataclass(frozen=True)
class Asker:
    """Asks `why` as a script does."""

    call: Call
    system: System

    def why(self, what: str) -> dict[str, Any]:
        answer = self.call("why", what, "--json")
        told = dict(answer.json)
        assert answer.code == (NEEDS_A_PERSON if told["standing"] == "needs_a_person" else 0)
        return told

    def until(self, what: str, cause: str, saying: str = "") -> dict[str, Any]:
        """The answer, once it names the cause in these words."""

        def look() -> dict[str, Any] | None:
            answer = self.why(what)
            return answer if answer["cause"] == cause and saying in answer["told"] else None

        return self.system.until(f"why {what}: {cause}; it is {self.why(what)['cause']}", look)


@pytest.fixture
def ask(system: System, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Asker:
    for name, value in system.environment.items():
        monkeypatch.setenv(name, value)
    return Asker(caller(capsys), system)


def key(name: str, *, day: int, datasource: str = "explained") -> str:
    return f"exports/{datasource}/2024-07-{day:02}/{name}"


@pytest.fixture
def homeless(system: System) -> Iterator[dict[str, str]]:
    """Objects without a job, by why they have none."""
    broken = system.contracts / "disabled.yaml"
    broken.write_text(readings_contract("disabled").replace("type: float", "type: number"))
    keys = {
        "no_contract": f"nowhere/{uuid4()}.csv",
        "unknown_organization": f"uploads/nobody/explained/2024-07-01/{uuid4()}/a.csv",
        "contract_broken": f"uploads/{ORGANIZATION}/disabled/2024-07-01/{uuid4()}/a.csv",
    }
    for name in keys.values():
        system.put(name, readings(1))
    yield keys
    broken.unlink()
    system.bucket.delete(list(keys.values()))


def test_an_object_that_belongs_nowhere(ask: Asker, homeless: dict[str, str]) -> None:
    answers = {cause: ask.why(name) for cause, name in homeless.items()}
    assert {cause: answer["cause"] for cause, answer in answers.items()} == {cause: cause for cause in homeless}
    assert "disabled.yaml" in answers["contract_broken"]["told"]
    assert answers["contract_broken"]["commands"] == ["ingestion-pipeline contract check"]
    assert answers["unknown_organization"]["commands"][0] == "ingestion-pipeline organizations add NAME"
    # Its name is enough, once the sensor has noted it.
    name = homeless["no_contract"]
    noted = "SELECT 1 FROM unmatched_objects WHERE object_key = %s"
    ask.system.until("the object among those that belong nowhere", lambda: ask.system.rows(noted, name))
    assert ask.why(name.rsplit("/", 1)[-1])["key"] == name


def test_an_object_that_is_not_there(ask: Asker) -> None:
    answer = ask.why(f"s3://{ask.system.bucket.bucket}/exports/explained/2024-07-01/never.csv")
    assert (answer["cause"], answer["job_id"], answer["facts"]["object"]) == ("no_such_object", None, None)


def test_history_waits_for_a_backfill(ask: Asker) -> None:
    name = ask.system.put(key("old.csv", day=1, datasource="archive"), readings(1))
    assert "--from 2024-07-01 --to 2024-07-01" in ask.until(name, "history_lane")["next_step"]


def test_files_from_their_arrival_to_their_end(ask: Asker) -> None:
    system, files = ask.system, Files(ask.system)
    system.faults.arm("before_post", "explained_task", "SIGSTOP")
    try:
        files.put_where_nothing_is_launched()
        versions = ask.until(files.versions, "druid_down", saying="A test holds dispatch")
        older = versions["job_id"]
        files.put_newer_version()
        files.launch()
        queued = ask.until(files.versions, "run_queued", saying="5 of 5 run slots are taken")
        assert queued["run_url"].startswith(f"{system.settings.dagster_url}/runs/")
        assert queued["job_id"] != older
        assert ask.why(older)["cause"] == "superseded"
        at_work = ask.until(files.short, "at_work")
        assert [part["about"] for part in at_work["evidence"]] == ["object", "contract", "ledger", "sensor", "run"]
    finally:
        files.release()
    files.damage_what_the_task_is_to_read()

    rejects = ask.until(files.rejects, "too_many_rejects")
    assert f"ingestion-pipeline rejected {rejects['job_id'][:8]}" in rejects["commands"]
    assert "cut off" in ask.until(files.cut, "unreadable")["told"]
    first = system.finished(files.twice)
    put_again(system, files.twice, readings(ROWS, day="2024-07-04"))
    duplicate = ask.until(files.twice, "duplicate")
    assert first["job_id"] in duplicate["told"]
    failed = ask.until(files.task, "druid_rejected")
    assert "Max parse exceptions" in failed["told"]
    assert {part["about"]: part["mark"] for part in failed["evidence"]}["attempt"] == "bad"

    loaded = ask.until(files.short, "loaded")
    assert loaded["facts"]["druid"]["counted"] == ROWS
    files.drop_rows_in_druid()
    gone = ask.until(files.short, "count_short")
    assert gone["told"].startswith(f"It was loaded, {ROWS} rows counted in Druid, which counts 0 now")
    assert gone["commands"] == [f"ingestion-pipeline replay {gone['job_id'][:8]}"]
    # What people read is the same, in words.
    page = ask.call("why", gone["job_id"][:8])
    assert page.code == NEEDS_A_PERSON
    lines = page.out.splitlines()
    assert lines[0] == "held-short.csv  needs a person (count_short)"
    assert lines[1] == gone["told"]
    assert lines[-1] == f"What now: {gone['next_step']}"


@dataclass(frozen=True)
class Files:
    """The scenario's files, each of a partition day and so of a run of its own; what a name is, becomes of it."""

    system: System
    short: str = key("held-short.csv", day=1)
    rejects: str = key("held-rejects.csv", day=2)
    cut: str = key("held-cut.csv.gz", day=3)
    twice: str = key("held-twice.csv", day=4)
    other: str = key("held-other.csv", day=5)
    versions: str = key("versions.csv", day=6)
    task: str = key("task.csv", day=1, datasource="explained_task")

    def put_where_nothing_is_launched(self) -> None:
        for condition in ("hold_reading", "hold_dispatch"):
            self.system.faults.begin(condition)
        self.system.put(self.short, readings(ROWS, day="2024-07-01"))
        self.system.put(self.rejects, readings(ROWS, day="2024-07-02", bad=ROWS - 1))
        self.system.put(self.cut, gzip.compress(readings(ROWS).encode())[:-20])
        self.system.put(self.twice, readings(ROWS, day="2024-07-04"))
        self.system.put(self.other, readings(ROWS, day="2024-07-05"))
        self.system.put(self.versions, readings(ROWS, day="2024-07-06"))
        for name in (self.short, self.rejects, self.cut, self.twice, self.other, self.versions):
            self.system.until(f"a job of {name}", lambda name=name: self.system.jobs_of(name))

    def put_newer_version(self) -> None:
        """Versions are told apart by whole seconds."""
        before = self.system.bucket.head(self.versions)
        assert before is not None
        self.system.until("the next second", lambda: now() - before.last_modified > timedelta(seconds=1))
        self.system.put(self.versions, readings(ROWS + 1, day="2024-07-06"))
        self.system.until("a job of the newer version", lambda: len(self.system.jobs_of(self.versions)) == 2)

    def launch(self) -> None:
        """Runs are launched; those of held files read and do not end."""
        self.system.faults.end("hold_dispatch")

    def release(self) -> None:
        for condition in ("hold_dispatch", "hold_reading"):
            self.system.faults.end(condition)
        self.system.put(self.task, readings(ROWS, day="2024-07-01"))

    def damage_what_the_task_is_to_read(self) -> None:
        """Between the saving of its attempt and the sending of its task."""
        faults = self.system.faults
        pid = self.system.until(
            "a run that has saved its attempt", lambda: faults.struck("before_post", "explained_task")
        )
        (job,) = self.system.jobs_of(self.task)
        self.system.put(job["staged"]["cleaned_key"], zstandard.compress(b"this is no JSON\n" * ROWS))
        os.kill(pid, signal.SIGCONT)

    def drop_rows_in_druid(self) -> None:
        answer = requests.post(
            f"{self.system.settings.druid_overlord_url}/druid/indexer/v1/datasources/explained/markUnused",
            json={"interval": "2024-01-01/2025-01-01"},
            timeout=30,
        )
        assert answer.ok, answer.text
