"""A real browser on Dagster's pages, and what each page has to show.

What belongs here: starting Chromium and waiting for texts with a deadline. What does not: which runs or files are
looked at (`test_pages`), and taking pictures of the same pages (`docs/make_pictures.py`).
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright
from playwright.sync_api import TimeoutError as DeadlinePassed

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LOCATION = "/locations/ingestion_pipeline"

# innerText is what people see: hidden elements have none.
_MISSING = """wanted => {
  const shown = document.body ? document.body.innerText.toLowerCase() : '';
  return wanted.filter(text => !shown.includes(text.toLowerCase()));
}"""


@contextmanager
def browser_page(*, width: int = 1400, height: int = 1000) -> Iterator[Page]:
    """A page of a headless Chromium of this machine, closed at the end."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert chromium, "No browser: `make browser` installs chromium."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        try:
            page = browser.new_page(viewport={"width": width, "height": height}, timezone_id="UTC")
            page.set_default_timeout(60_000)
            yield page
        finally:
            browser.close()


def missing_texts(page: Page, texts: Sequence[str], *, seconds: float) -> list[str]:
    """Wait until every text is visible somewhere on the page; those that are still missing at the deadline."""
    try:
        page.wait_for_function(f"wanted => ({_MISSING})(wanted).length === 0", arg=list(texts), timeout=seconds * 1000)
    except DeadlinePassed:
        left: list[str] = page.evaluate(_MISSING, list(texts))
        return left
    return []
