"""Dagster's pages in a real browser, after a file was loaded: people find on them what the documentation says."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page

from ingestion_pipeline_tests.entrypoints.browser import LOCATION, browser_page, missing_texts
from ingestion_pipeline_tests.guarantees.surroundings import ORGANIZATION
from ingestion_pipeline_tests.guarantees.system import System

pytestmark = pytest.mark.stack

ATTEMPTS, SECONDS = 4, 40
DAY = "2013-03-05"
HEADER = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,"
    "dest,air_time,distance,hour,minute,time_hour"
)
ROW = "2013,3,5,517,515,2,830,819,11,UA,{flight},N14228,{origin},IAH,227,1400,5,15,2013-03-05T10:00:00Z"


@dataclass(frozen=True)
class Loaded:
    """A file of 80 flights, two of them from an airport that the contract does not know."""

    file: str
    job_id: str
    run_id: str


@pytest.fixture(scope="module")
def loaded(system: System) -> Loaded:
    rows = [ROW.format(flight=number, origin="EWR" if number <= 78 else "XYZ") for number in range(1, 81)]
    key = f"uploads/{ORGANIZATION}/flights/{DAY}/pages/seen-in-pages.csv"
    system.put(key, "\n".join([HEADER, *rows, ""]))
    job = system.finished(key)
    assert (job["outcome"], job["rows_rejected"]) == ("loaded_with_rejects", 2)
    assert system.ended_run(job["run_id"]).status == "SUCCESS"
    return Loaded("seen-in-pages.csv", job["job_id"], job["run_id"])


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser_page() as opened:
        yield opened


def shows(page: Page, system: System, path: str, *texts: str) -> None:
    """Open the page and fail with what is missing on it at the deadline."""
    for _ in range(ATTEMPTS):
        # A page that was opened while the webserver learns of a new code server keeps what it saw: opened anew.
        page.goto(system.settings.dagster_url + path, wait_until="domcontentloaded")
        missing = missing_texts(page, texts, seconds=SECONDS)
        if not missing:
            break
    assert not missing, f"{path} does not show {missing}; it shows:\n{page.inner_text('body')[:3000]}"


def test_the_asset_page_tells_what_the_last_run_brought(page: Page, system: System, loaded: Loaded) -> None:
    shows(
        page,
        system,
        "/assets/flights?view=overview",
        "Every flight that departed from a New York City airport",
        "rows_read",
        "rows_rejected",
        "rejected_fraction",
        "druid_task_ids",
        "file_table",
        "preview",
        "data-platform@example.com",
        "uploads",
        "ingest_flights",
    )


def test_the_events_tab_shows_each_load_with_its_numbers(page: Page, system: System, loaded: Loaded) -> None:
    path = f"/assets/flights?view=events&partition={DAY}"
    shows(page, system, path, DAY, "rows_read", "80", "rows_accepted", "78", "rejected_fraction", "0.025", "quarantine")
    shows(page, system, path, loaded.file, loaded.job_id, "loaded_with_rejects", "druid_task_ids")


def test_the_run_page_shows_its_ops_and_how_it_ended(page: Page, system: System, loaded: Loaded) -> None:
    path = f"/runs/{loaded.run_id}"
    shows(page, system, path, "Success", "flights.validate", "flights.transform", "flights.submit", "flights.report")
    shows(page, system, path, f"partition: {DAY}", "3 checks")


def test_the_sensor_page_shows_a_running_sensor_and_its_ticks(page: Page, system: System, loaded: Loaded) -> None:
    path = f"{LOCATION}/sensors/uploads"
    shows(page, system, path, "uploads", "Running", "ingest_flights", "Enters new uploads into the ledger")
    shows(page, system, path, "~4 sec", "requested", "View logs")


def test_the_partitions_page_shows_the_day_as_materialized(page: Page, system: System, loaded: Loaded) -> None:
    shows(page, system, f"/assets/flights?view=partitions&partition={DAY}", "Materialized", DAY, "rows_read", "80")


def test_the_checks_page_names_every_check(page: Page, system: System, loaded: Loaded) -> None:
    path = "/assets/flights?view=checks"
    shows(page, system, path, "Checks (3)", "rejected_fraction", "files_loaded", "rows_proved")
    shows(
        page,
        system,
        f"{path}&checkDetail=rejected_fraction",
        "2 of 80 rows were rejected, most by the rule isin of origin.",
    )


def test_the_asset_page_tells_the_contract_in_words(page: Page, system: System) -> None:
    shows(
        page,
        system,
        "/assets/flights?view=overview",
        "uploads/{organization}/flights/{date}/{job_id}/{name}",
        "must be one of EWR, JFK, LGA",
        "leaves_its_origin",
        "kept in quarantine, the good rows load",
    )


def test_the_asset_of_doing_shows_what_waits_and_what_ended(page: Page, system: System, loaded: Loaded) -> None:
    path = "/assets/how_is_ingestion_doing?view=overview"
    shows(page, system, path, "waiting_files", "oldest_waiting_seconds", "rows_last_hour", "failed_fraction_last_day")
    shows(page, system, path, "summary", "operations", "ingestion-pipeline doing")


def test_the_launchpad_offers_the_keys_of_validate(page: Page, system: System) -> None:
    path = f"{LOCATION}/jobs/ingest_flights/playground"
    shows(page, system, path, "ingest_flights", "validate:", "keys: []", "No errors", "Launch Run")


def test_a_disabled_datasource_says_on_its_page_what_is_wrong(page: Page, system: System) -> None:
    contract = system.contracts / "unfinished.yaml"
    text = "datasource: unfinished\npartition_start: 2024-01-01\ntime: {column: at}\ncolumns: {at: {type: datetme}}\n"
    contract.write_text(text)
    try:
        system.stack.restart("code-server")
        shows(page, system, "/assets/unfinished?view=overview", "Disabled:", "unfinished.yaml", "'datetme'", "datetime")
    finally:
        contract.unlink()
        system.stack.restart("code-server")
