"""After the demo: what can be done with the running stack, and every file that arrives, until Ctrl-C.

What belongs here: commands to copy, and the lines of arriving files. What does not: the demo (`cli.demo`).
"""

import shlex
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ingestion_pipeline.cli.connections import Connections, connected
from ingestion_pipeline.cli.output import message, status_text, step_text
from ingestion_pipeline.domain.contract_patterns import UPLOADS_PREFIX
from ingestion_pipeline.domain.orders import SHORT_ID
from ingestion_pipeline.errors import IngestionError
from ingestion_pipeline.settings import DATA_DIR_VARIABLE, DEFAULT_DATA_DIR, Settings

if TYPE_CHECKING:
    from rich.console import Console

    from ingestion_pipeline.embedded.stack import Stack

_FOLLOW_SECONDS = 1.0
_DEFAULT = DEFAULT_DATA_DIR.absolute()


def stay(stack: "Stack", settings: Settings, page: "Console", *, organization: str) -> None:
    """Say what can be done now, and show every file that arrives, until interrupted."""
    command = _command()
    sample = _shown_path(stack.root / "demo" / "flights-2013-01.csv")
    env = _shown_path(stack.root / "stack.env")
    target = f"{UPLOADS_PREFIX}{organization}/flights/{datetime.now(UTC):%Y-%m-%d}/mine/my-flights.csv"
    for name, url in (
        ("Dagster", f"{settings.dagster_url}/assets/flights"),
        ("  runs", f"{settings.dagster_url}/runs"),
        ("Druid, SQL by POST", f"{settings.druid_broker_url}/druid/v2/sql"),
        ("  what it holds", f"{settings.druid_coordinator_url}/druid/coordinator/v1/datasources?simple"),
        ("  its tasks", f"{settings.druid_overlord_url}/druid/indexer/v1/tasks"),
    ):
        page.print(f"{name:19} {url}", soft_wrap=True)
    page.print("\n[bold]Drop a file of your own[/] (this one is made from a real month; use any with the same header):")
    chosen = [f"export {DATA_DIR_VARIABLE}={shlex.quote(_shown_path(stack.root))}"] if stack.root != _DEFAULT else []
    lines = [
        *chosen,
        f"head -1000 {sample} > my-flights.csv",
        f"{command} upload my-flights.csv --datasource flights --organization {organization} --wait",
        "",
        "# or straight into the bucket, by any S3 client; the sensor finds it:",
        f"set -a; . {env}; set +a",
        'curl --fail --aws-sigv4 "aws:amz:$INGESTION_S3_REGION:s3" '
        '--user "$INGESTION_S3_ACCESS_KEY_ID:$INGESTION_S3_SECRET_ACCESS_KEY" \\',
        f'  -T my-flights.csv "$INGESTION_S3_ENDPOINT_URL/$INGESTION_S3_BUCKET/{target}"',
        "",
        f"{command} jobs",
        f"{command} query 'SELECT carrier, COUNT(*) AS flights FROM flights GROUP BY 1 ORDER BY 2 DESC LIMIT 5'",  # noqa: S608 - shown
    ]
    for line in lines:
        page.print(f"  {line}", style="dim" if line.startswith("#") else "cyan", markup=False, soft_wrap=True)
    page.print("\nIt stays up until Ctrl-C. Files that arrive are shown here.")
    with connected(settings) as systems:
        _follow(systems, page)


def _follow(systems: Connections, page: "Console") -> None:
    since, shown = datetime.now(UTC), dict[str, str]()
    while True:
        time.sleep(_FOLLOW_SECONDS)
        try:
            rows = systems.ledger.jobs.latest(since=since, limit=100)
        except IngestionError as error:
            page.print(str(error), style="red", markup=False)
            time.sleep(10 * _FOLLOW_SECONDS)
            continue
        for job in reversed(rows):
            where = f"{status_text(job)} {step_text(job)}".strip()
            if shown.get(job["job_id"]) == where:
                continue
            shown[job["job_id"]] = where
            rows_told = f"  {job['rows_read']:,} rows, {job['rows_rejected']:,} rejected" if job["finished_at"] else ""
            page.print(f"{datetime.now(UTC):%H:%M:%S}  {job['job_id'][:SHORT_ID]}  {_escaped(job['file_name'])}  "
                       f"{where}{rows_told}  {_escaped(message(job))}", soft_wrap=True)  # fmt: skip


def _command() -> str:
    """How this program is called from here."""
    if shutil.which("ingestion-pipeline"):
        return "ingestion-pipeline"
    return shlex.quote(_shown_path(Path(sys.argv[0]).absolute()))


def _shown_path(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
