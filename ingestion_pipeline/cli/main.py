"""The command `ingestion-pipeline`: assembles the commands and turns errors into lines and exit codes.

What belongs here: which module has which command, and what every command shares (errors, exit codes, logs
on stderr). What does not: any command's work. Exit codes: 0 done, 1 failed, 2 used wrongly, 3 not done in
time (`--wait`), 4 rows rejected (`read`, `validate`), 5 a person has to do something (`why`), 130 interrupted.
"""

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

import typer

from ingestion_pipeline.errors import IngestionError

# A module is imported only when one of its commands is called, or for the list of all (`--help`).
MODULES: Mapping[str, tuple[str, ...]] = {
    "stack": ("up", "down", "status", "logs"),
    "demo": ("demo",),
    "upload": ("upload",),
    "jobs": ("jobs",),
    "why": ("why",),
    "corrections": ("replay", "undo", "resubmit"),
    "rejected": ("rejected",),
    "callbacks": ("callbacks",),
    "arrivals": ("arrivals",),
    "doing": ("doing",),
    "query": ("query",),
    "read": ("read",),
    "validate": ("validate",),
    "contract": ("contract",),
    "organizations": ("organizations",),
    "upkeep": ("reconcile", "retention"),
    "backfill": ("backfill",),
}
# Modules whose commands are words after the module's name: `contract check`.
GROUPS = frozenset({"backfill", "callbacks", "contract", "organizations"})

HELP = "Files from S3 into Apache Druid, with a ledger, row errors and a proof by count."


def build(arguments: Sequence[str]) -> typer.Typer:
    """The application with the module of the called command, or with all of them."""
    called = next((argument for argument in arguments if not argument.startswith("-")), "")
    names = [name for name, commands in MODULES.items() if called in commands] or list(MODULES)
    app = typer.Typer(
        help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
    )

    @app.callback()
    def _commands() -> None:
        """Keeps the name of a command necessary even where only one is loaded."""

    for name in names:
        app.add_typer(import_module(f"ingestion_pipeline.cli.{name}").app, name=name if name in GROUPS else None)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; an error of our own tree is one message on stderr, not a traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app = build(given)
        if "--help" not in given:
            _logs_to_stderr()
        app(given, prog_name="ingestion-pipeline")
    except IngestionError as error:
        print_error(error)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        typer.echo("Interrupted.", err=True)
        raise SystemExit(130) from None


def print_error(error: IngestionError) -> None:
    """The message, and below it what to do, on stderr."""
    typer.secho(f"Error: {error.message.rstrip()}", fg=typer.colors.RED, err=True)
    if error.hint:
        typer.echo(f"  {error.hint}", err=True)


def _logs_to_stderr() -> None:
    # Standard output carries results (`--json`); structlog's default would mix its lines in.
    import logging

    import structlog

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    main()
