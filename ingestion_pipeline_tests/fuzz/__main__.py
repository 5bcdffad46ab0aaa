"""Runs cases in a child process until the time is over; failures are kept with the number that makes them again.

What belongs here: choosing numbers, a child that hangs or dies, the summary. What does not: cases, checks.
"""

import argparse
import json
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import IO

from ingestion_pipeline_tests.fuzz.cases import case

_HANGS_AFTER_SECONDS = 300.0
_KEPT = Path(".fuzz")


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1: something failed."""
    parser = argparse.ArgumentParser(prog="fuzz")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, help="one case again")
    parser.add_argument("--first", type=int, help="the first number; others follow", default=int(time.time()) * 1000)
    parser.add_argument("--count", type=int, help="at most so many cases")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return run([options.seed], seconds=_HANGS_AFTER_SECONDS)
    after = sys.maxsize if options.count is None else options.first + options.count
    return run(range(options.first, after), seconds=options.minutes * 60)


def run(numbers: "range | list[int]", *, seconds: float) -> int:
    outcomes: Counter[str] = Counter()
    child = _Child()
    started = time.monotonic()
    try:
        for number in numbers:
            if time.monotonic() - started > seconds:
                break
            entry = child.ask(number)
            outcomes[entry["outcome"]] += 1
            if entry["outcome"] == "failed":
                _keep(number, entry["why"])
            if child.is_dead:
                child = _Child()
    finally:
        child.end()
    count, elapsed = outcomes.total(), time.monotonic() - started
    print(f"{count:,} files in {elapsed:.0f} s ({count / elapsed:.1f} per second): {dict(outcomes)}")
    return 1 if outcomes["failed"] else 0


def _keep(number: int, why: str) -> None:
    _KEPT.mkdir(exist_ok=True)
    (_KEPT / f"{number}.bin").write_bytes(case(number))
    (_KEPT / f"{number}.txt").write_text(why)
    print(f"FAILED {number}: {why.strip().splitlines()[-1]}")
    print(f"  again: make fuzz SEED={number}; its bytes: {_KEPT}/{number}.bin")


class _Child:
    """A process that reads one case after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ingestion_pipeline_tests.fuzz.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._told: queue.Queue[dict[str, str] | None] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True)
        self._listener.start()
        self.is_dead = False

    def _listen(self, stdout: IO[str]) -> None:
        with stdout:
            for line in stdout:
                self._told.put(json.loads(line))
        self._told.put(None)

    def ask(self, number: int) -> dict[str, str]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        while True:
            try:
                entry = self._told.get(timeout=_HANGS_AFTER_SECONDS)
            except queue.Empty:
                self.end()
                return {"outcome": "failed", "why": f"hangs for {_HANGS_AFTER_SECONDS:.0f} seconds"}
            if entry is None:
                self.end()
                return {"outcome": "failed", "why": f"the process ended with {self._process.returncode}"}
            if entry["state"] == "ended":
                return entry

    def end(self) -> None:
        self.is_dead = True
        self._process.kill()
        self._process.wait()
        self._listener.join()
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()


if __name__ == "__main__":
    sys.exit(main())
