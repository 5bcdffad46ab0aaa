"""The suite as a program: a stack of its own, one performance, the judgement as exit code."""

import argparse
import json
import logging
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil
import structlog

from ingestion_pipeline.embedded.stack import Stack
from ingestion_pipeline_tests.guarantees.suite import report, schedule
from ingestion_pipeline_tests.guarantees.suite.keeper import workers
from ingestion_pipeline_tests.guarantees.suite.play import get_ready, perform
from ingestion_pipeline_tests.guarantees.suite.surroundings import stack_options
from ingestion_pipeline_tests.guarantees.system import System


def main() -> int:
    """0 when every guarantee held, else 1."""
    parser = argparse.ArgumentParser(description="Hit everything while files are loaded, then compare every row.")
    parser.add_argument("--kills", type=int, default=60, metavar="N", help="strikes of any kind (default 60)")
    parser.add_argument("--files", type=int, default=500, metavar="F", help="files, corrections not counted (500)")
    parser.add_argument("--seed", type=int, help="of the schedule; by default the time, and printed")
    parser.add_argument("--seconds", type=float, help="length of the play; by default as the schedule needs it")
    parser.add_argument("--deadline", type=float, default=1800, help="seconds for everything to become final (1800)")
    parser.add_argument("--json", action="store_true", help="the outcome as JSON on stdout, everything else on stderr")
    parser.add_argument("--schedule-only", action="store_true", help="print what would happen, and do nothing")
    parser.add_argument("--data-dir", type=Path, help="play in this directory, and leave it there afterwards")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _terminated)
    began = time.monotonic()

    def say(text: str) -> None:
        print(text, file=sys.stderr if arguments.json else sys.stdout, flush=True)

    seed = int(time.time()) if arguments.seed is None else arguments.seed
    plan = schedule.make(seed=seed, files=arguments.files, kills=arguments.kills, seconds=arguments.seconds)
    deeds = sum(len(item.actions) for item in plan.items)
    say(f"Seed {seed}: {arguments.files} files, {deeds} deeds, {arguments.kills} strikes in {plan.seconds:.0f} s.")
    for line in plan.lines():
        say(f"  {line}")
    if arguments.schedule_only:
        return 0
    _quiet_logs()
    with _own_stack(arguments.data_dir) as stack:
        say("Starting the stack ...")
        say(f"Ready after {stack.up().seconds:.0f} s.")
        system = System(stack)
        get_ready(system)
        outcome = perform(system, plan, deadline_seconds=arguments.deadline, say=say)
        system.close()
    for line in report.lines(outcome):
        say(line)
    say(f"Seed {seed}; {time.monotonic() - began:.0f} s in all.")
    if arguments.json:
        print(json.dumps(report.as_json(outcome), indent=2, ensure_ascii=False))
    return 0 if outcome.is_clean else 1


@contextmanager
def _own_stack(data_dir: Path | None) -> Iterator[Stack]:
    root = data_dir or Path(tempfile.mkdtemp(prefix="ingestion-guarantees-"))
    root.mkdir(parents=True, exist_ok=True)
    stack = Stack(root / "stack", use_free_ports=True, **stack_options(root))
    try:
        yield stack
    finally:
        stack.down()
        # A killed code server leaves its runs behind, and no record names them any more.
        for process in workers(stack):
            with _gone():
                process.kill()
        if data_dir is None:
            shutil.rmtree(root, ignore_errors=True)


@contextmanager
def _gone() -> Iterator[None]:
    try:
        yield
    except psutil.NoSuchProcess:
        return


def _terminated(number: int, frame: FrameType | None) -> None:
    # Raised in the main thread: `finally` blocks stop the stack and remove its directory.
    sys.exit(128 + number)


def _quiet_logs() -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    sys.exit(main())
