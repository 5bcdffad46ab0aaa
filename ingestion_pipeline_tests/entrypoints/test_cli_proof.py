"""The demo's proof: every way in which a file's figures can be wrong is told."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from ingestion_pipeline.cli.proof import FLIGHTS_OF_THE_YEAR, FileProof, problems
from ingestion_pipeline.demo_data import DemoFile, planted_errors

MONTH = DemoFile(Path("flights-2013-01.csv"), "flights", date(2013, 1, 1), "month", FLIGHTS_OF_THE_YEAR)
GOOD = FileProof(
    file=MONTH,
    job_id="1",
    outcome="loaded",
    expected=FLIGHTS_OF_THE_YEAR,
    read=FLIGHTS_OF_THE_YEAR,
    accepted=FLIGHTS_OF_THE_YEAR - 2,
    rejected=2,
    counted=FLIGHTS_OF_THE_YEAR - 2,
)
FINDINGS = frozenset((error.line, error.column, error.rule) for error in planted_errors())
PLANTED = FileProof(
    file=DemoFile(Path("planted.csv"), "flights", date(2013, 7, 4), "planted", 400),
    job_id="2",
    outcome="loaded_with_rejects",
    expected=400,
    read=400,
    accepted=375,
    rejected=25,
    counted=375,
    findings=FINDINGS,
)


def test_figures_that_agree_are_proved() -> None:
    assert problems([GOOD, PLANTED]) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"read": 1, "accepted": 1, "rejected": 0, "counted": 1}, "1 rows were read, the file has 336,776"),
        ({"rejected": 3}, "accepted and 3 rejected are not 336,776 read"),
        ({"counted": 336_773}, "336,774 rows were accepted, Druid counts 336,773"),
        ({"counted": 336_775}, "Druid counts 336,775"),
        ({"error": "failed: not text."}, "failed: not text."),
    ],
    ids=["read too few", "does not add up", "fewer in Druid", "more in Druid", "not loaded"],
)
def test_a_figure_that_is_wrong_is_told(change: dict[str, int], told: str) -> None:
    found = problems([replace(GOOD, **change), PLANTED])
    assert any(told in problem for problem in found), found


def test_a_planted_error_that_was_missed_is_told() -> None:
    missed = min(FINDINGS)
    found = problems([GOOD, replace(PLANTED, findings=FINDINGS - {missed})])
    assert found == [f"planted.csv: line {missed[0]}, {missed[1]}: {missed[2]} was planted and not found."]


def test_a_finding_beside_the_planted_ones_is_told() -> None:
    found = problems([GOOD, replace(PLANTED, findings=FINDINGS | {(3, "dest", "isin")})])
    assert found == ["planted.csv: line 3, dest: isin was found and not planted."]


def test_a_month_that_is_missing_is_missed_in_the_year() -> None:
    assert problems([PLANTED]) == ["0 flights were read from the monthly files, the year has 336,776."]
