"""Take the documentation's pictures of the Dagster UI beside a running stack that holds the demo's data.

Run it while `make demo` is up: `.venv/bin/python docs/make_pictures.py`. Each page has to show certain texts before
it is taken; the tests of pages (`ingestion_pipeline_tests/entrypoints/test_pages.py`) look for the same kind of texts.
"""

import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.settings import load_settings
from ingestion_pipeline_tests.entrypoints.browser import LOCATION, browser_page, missing_texts

PICTURES = Path(__file__).parent / "pictures"
WIDTH = 1400
SECONDS = 120
FILE, DAY = "flights-planted-errors.csv", "2013-07-04"
COLOURS = 128
"""Enough for a UI, and a third of the bytes."""


@dataclass(frozen=True)
class Picture:
    """One page: where it is, what it must show, how much of it is taken."""

    name: str
    path: str
    texts: tuple[str, ...]
    height: int


def pictures(run_id: str) -> list[Picture]:
    """What is taken, of the run that loaded the demo's file with errors."""
    return [
        Picture(
            "asset",
            f"/assets/flights?view=events&partition={DAY}",
            (DAY, "rows_read", "rejected_fraction", "0.0625", "file_table", FILE),
            1080,
        ),
        Picture("run", f"/runs/{run_id}", ("Success", "flights.validate", "flights.report", "rows_proved"), 860),
        Picture("sensor", f"{LOCATION}/sensors/uploads", ("uploads", "Running", "requested", "~4 sec"), 900),
        Picture(
            "partitions",
            f"/assets/flights?view=partitions&partition={DAY}",
            ("Materialized", DAY, "rows_read", "rejected_fraction"),
            900,
        ),
        Picture(
            "checks",
            "/assets/flights?view=checks&checkDetail=rejected_fraction",
            ("Checks (3)", "rows_proved", "rows were rejected"),
            700,
        ),
    ]


def take(page: Page, url: str, picture: Picture) -> bool:
    """Take one; False, with a line on stderr, if the page does not show what it should."""
    page.set_viewport_size({"width": WIDTH, "height": picture.height})
    page.goto(url + picture.path, wait_until="domcontentloaded")
    missing = missing_texts(page, picture.texts, seconds=SECONDS)
    if missing:
        sys.stderr.write(f"{picture.name}: the page does not show {missing}\n")
        return False
    page.wait_for_function("() => !/Loading|In Progress/.test(document.body.innerText)", timeout=SECONDS * 1000)
    if page.get_by_text("Hide navigation").is_visible():
        page.get_by_text("Hide navigation").click()  # room for tables; the page remembers it
    page.wait_for_timeout(1500)  # animations
    taken = Image.open(BytesIO(page.screenshot())).convert("RGB")
    taken.quantize(COLOURS).save(PICTURES / f"{picture.name}.png", optimize=True)
    return True


def main(names: list[str]) -> int:
    """Take all, or those that are named."""
    settings = load_settings()
    ledger = Ledger(settings.ledger_url.get_secret_value())
    jobs = [job for job in ledger.jobs.latest(key_contains=FILE, limit=10) if job["outcome"] == "loaded_with_rejects"]
    ledger.close()
    if not jobs:
        sys.stderr.write(f"{FILE} has not been loaded here: run `make demo` first.\n")
        return 1
    with browser_page(width=WIDTH) as page:
        wanted = [picture for picture in pictures(jobs[0]["run_id"]) if not names or picture.name in names]
        failed = sum(not take(page, settings.dagster_url, picture) for picture in wanted)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
