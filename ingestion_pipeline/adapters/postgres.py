"""The ledger in PostgreSQL: one engine, and the ledger's sides by who uses them.

What belongs here: the connection, its errors, and what is shared by the sides. The sides are
`discovery` (bucket -> ledger), `queue` (ledger -> run requests), `work` (a run's leases and writes),
`attempts` (what was sent to Druid), `corrections` (whose rows a job takes out), `arrivals` (what came of what was
expected), `figures` (how all of it is doing), `callbacks` (who is told what), `deliveries` (telling it), `upkeep` (what
schedules look after), `jobs` (what people read) and `diagnosis` (what holds one file).
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ingestion_pipeline.errors import ConfigurationError, LedgerUnavailable

if TYPE_CHECKING:
    from ingestion_pipeline.adapters.postgres_arrivals import Arrivals
    from ingestion_pipeline.adapters.postgres_attempts import Attempts
    from ingestion_pipeline.adapters.postgres_backfills import Backfills
    from ingestion_pipeline.adapters.postgres_callbacks import Callbacks
    from ingestion_pipeline.adapters.postgres_corrections import Corrections
    from ingestion_pipeline.adapters.postgres_deliveries import Deliveries
    from ingestion_pipeline.adapters.postgres_diagnosis import Diagnosis
    from ingestion_pipeline.adapters.postgres_discovery import Discovery
    from ingestion_pipeline.adapters.postgres_figures import FiguresOfLedger
    from ingestion_pipeline.adapters.postgres_jobs import Jobs
    from ingestion_pipeline.adapters.postgres_queue import Queue
    from ingestion_pipeline.adapters.postgres_upkeep import Upkeep
    from ingestion_pipeline.adapters.postgres_work import Work

CONNECT_TIMEOUT_SECONDS = 5
STATEMENT_TIMEOUT_SECONDS = 60


# What PostgreSQL says of a table or a column that is not there.
_NOT_MIGRATED = frozenset({"42P01", "42703"})


class Ledger:
    """The ledger's entry point; cheap to make, connects on first use.

    Args:
        url: SQLAlchemy URL of role `pipeline`, ``postgresql+psycopg://...``.

    Raises:
        ConfigurationError: It is no such URL.
    """

    def __init__(self, url: str) -> None:
        self.engine = engine_of(
            url,
            setting="INGESTION_LEDGER_URL",
            pool_size=4,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_SECONDS,
                "application_name": "ingestion-pipeline",
                "options": f"-c statement_timeout={STATEMENT_TIMEOUT_SECONDS * 1000} -c timezone=UTC",
            },
        )

    def close(self) -> None:
        self.engine.dispose()

    @cached_property
    def discovery(self) -> "Discovery":
        from ingestion_pipeline.adapters.postgres_discovery import Discovery

        return Discovery(self.engine)

    @cached_property
    def queue(self) -> "Queue":
        from ingestion_pipeline.adapters.postgres_queue import Queue

        return Queue(self.engine)

    @cached_property
    def backfills(self) -> "Backfills":
        from ingestion_pipeline.adapters.postgres_backfills import Backfills

        return Backfills(self.engine)

    @cached_property
    def work(self) -> "Work":
        from ingestion_pipeline.adapters.postgres_work import Work

        return Work(self.engine)

    @cached_property
    def attempts(self) -> "Attempts":
        from ingestion_pipeline.adapters.postgres_attempts import Attempts

        return Attempts(self.engine)

    @cached_property
    def upkeep(self) -> "Upkeep":
        from ingestion_pipeline.adapters.postgres_upkeep import Upkeep

        return Upkeep(self.engine)

    @cached_property
    def corrections(self) -> "Corrections":
        from ingestion_pipeline.adapters.postgres_corrections import Corrections

        return Corrections(self.engine)

    @cached_property
    def arrivals(self) -> "Arrivals":
        from ingestion_pipeline.adapters.postgres_arrivals import Arrivals

        return Arrivals(self.engine)

    @cached_property
    def figures(self) -> "FiguresOfLedger":
        from ingestion_pipeline.adapters.postgres_figures import FiguresOfLedger

        return FiguresOfLedger(self.engine)

    @cached_property
    def diagnosis(self) -> "Diagnosis":
        from ingestion_pipeline.adapters.postgres_diagnosis import Diagnosis

        return Diagnosis(self.engine)

    @cached_property
    def jobs(self) -> "Jobs":
        from ingestion_pipeline.adapters.postgres_jobs import Jobs

        return Jobs(self.engine)

    @cached_property
    def callbacks(self) -> "Callbacks":
        from ingestion_pipeline.adapters.postgres_callbacks import Callbacks

        return Callbacks(self.engine)

    @cached_property
    def deliveries(self) -> "Deliveries":
        from ingestion_pipeline.adapters.postgres_deliveries import Deliveries

        return Deliveries(self.engine)


def engine_of(url: str, *, setting: str, **options: Any) -> sa.Engine:
    """SQLAlchemy's engine for a URL that an operator wrote; nothing is connected.

    Args:
        setting: The variable that has the URL, for the message; the URL has a password and is never repeated.

    Raises:
        ConfigurationError: It is no URL of a PostgreSQL database, or has a password that ends in the middle.
    """
    try:
        made = sa.make_url(url)
        # A bare "@" ends the password for SQLAlchemy; the driver would take the rest for a host, and show it.
        cut = "@" in url and made.host != sa.make_url(f"{made.drivername}://{url.rpartition('@')[2]}").host
        if made.get_backend_name() == "postgresql" and not cut:
            return sa.create_engine(made, **options)
    except (sa.exc.ArgumentError, ValueError, ImportError):
        pass  # the texts of these errors repeat parts of the URL
    raise ConfigurationError(
        f"{setting} is not the address of a PostgreSQL database.",
        hint="Write postgresql+psycopg://ROLE:PASSWORD@HOST:PORT/DATABASE; in a password write %40 for @, %2F for /, "
        "%3F for ? and %25 for %.",
    )


@contextmanager
def transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction; PostgreSQL's absence becomes LedgerUnavailable, that of the tables ConfigurationError."""
    try:
        with engine.begin() as connection:
            yield connection
    except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
        reason = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
        raise LedgerUnavailable(
            f"The ledger's database does not answer: {reason}.", hint="Is PostgreSQL running and reachable?"
        ) from error
    except sa.exc.ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) not in _NOT_MIGRATED:
            raise
        raise ConfigurationError(
            f"The ledger's database lacks what this version needs: {str(error.orig).splitlines()[0]}.",
            hint="Migrate it: `docker compose run --rm prepare`, or `migrate` as in "
            "docs/how-to/connect-your-own-services.md; `ingestion-pipeline up` migrates the database that it starts.",
        ) from error


def as_json(value: Mapping[str, Any] | list[Any] | tuple[Any, ...]) -> str:
    """JSON text for a JSONB parameter: any text in it as PostgreSQL can hold it, any value that JSON lacks as text."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def _plain(value: object) -> object:
    # Cleaned before it is written, not after: in JSON the text "\\u0000" and the character NUL look alike.
    if isinstance(value, str):
        return clean_text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {clean_text(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime) else clean_text(str(value))


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean_text(text: str) -> str:
    """Text as PostgreSQL can hold it: NUL and halves of surrogate pairs become the replacement character."""
    return _UNSTORABLE.sub("\ufffd", text)
