"""Structured logs: one JSON line per event on stderr, with the words of the ledger as fields.

Every line has `event`, `level` and `timestamp`; what is about a job has `job`, `organization`, `datasource`, `run`
and `attempt`. Values are never secrets: URLs are logged without query strings by those who log them.
"""

import logging
import sys

import structlog


def configure_logging(*, human: bool = False) -> None:
    """Set up structlog for this process; calling it again changes nothing but the renderer.

    Args:
        human: Coloured lines for a terminal instead of JSON.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks,
            structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # stderr is looked up at each call: Dagster and pytest replace it.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
