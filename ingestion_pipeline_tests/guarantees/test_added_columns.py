"""Columns that files add, in the real Druid: they come with their file, and outlast the corrections of others."""

from collections.abc import Iterator
from typing import Any

import pytest

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.domain.job import Cause, Job
from ingestion_pipeline_tests.conftest import LedgerDatabase, S3Access
from ingestion_pipeline_tests.guarantees.batches import Batches, batches_of
from ingestion_pipeline_tests.guarantees.test_loader import ordered

pytestmark = pytest.mark.stack

COLOUR, SIZE = 'Colour of "it"', "size.cm"
PAINTED: list[dict[str, str | None]] = [
    {"place": "hall", COLOUR: "007", SIZE: "1.50"},
    {"place": "loft", COLOUR: "é\nü", SIZE: None},
    {"place": "attic", COLOUR: None, SIZE: "1e5"},
]


@pytest.fixture
def batches(postgres: LedgerDatabase, s3: S3Access, druid_client: Druid) -> Iterator[Batches]:
    batches = batches_of(postgres, s3.store(), druid_client)
    yield batches
    batches.world.ledger.close()


def rows_of(batches: Batches, job: Job, *columns: str) -> list[dict[str, Any]]:
    quoted = ['"' + name.replace('"', '""') + '"' for name in ("place", *columns)]
    sql = f'SELECT {", ".join(quoted)} FROM "{batches.world.name}" WHERE "__job_id" = ? ORDER BY __time'
    return batches.druid.query(sql, [job.job_id])


def test_added_columns_survive_corrections_undos_and_replays_of_other_files(batches: Batches) -> None:
    plain, painted, doomed = batches.staged(["a", "b"], ["x"], ["c"])
    painted = batches.stage_added(painted, PAINTED)
    batches.load([plain, painted, doomed])
    assert batches.outcomes([plain, painted, doomed]) == ["loaded"] * 3
    assert rows_of(batches, painted, COLOUR, SIZE) == PAINTED

    replay = batches.stage_added(ordered(batches, Cause.REPLAY, plain), [{"place": "aa", "new one": "1"}])
    batches.load([replay])
    assert rows_of(batches, painted, COLOUR, SIZE) == PAINTED
    assert rows_of(batches, replay, COLOUR, "new one") == [{"place": "aa", COLOUR: None, "new one": "1"}]

    batches.load([ordered(batches, Cause.UNDO, doomed)])
    assert rows_of(batches, painted, COLOUR, SIZE) == PAINTED

    again = batches.stage_added(ordered(batches, Cause.REPLAY, painted), PAINTED)
    batches.load([again])
    assert rows_of(batches, again, COLOUR, SIZE) == PAINTED
    assert batches.counted() == {replay.job_id: 1, again.job_id: 3}


def test_a_column_that_druid_has_in_another_way_is_refused_and_its_siblings_are_loaded(batches: Batches) -> None:
    first, *others = batches.staged(["a"], ["b"], ["c"], ["d"])
    batches.load([batches.stage_added(first, [{"place": "a", "Colour": "red"}])])
    names = ["colour", "Colour", "size"]
    others = [batches.stage_added(job, [{"place": "b", name: "1"}]) for job, name in zip(others, names, strict=True)]

    batches.load(others)

    assert batches.outcomes(others) == ["unreadable", "loaded", "loaded"]
    assert "'Colour', which differs in upper and lower case" in batches.world.row(others[0].job_id)["error_message"]
