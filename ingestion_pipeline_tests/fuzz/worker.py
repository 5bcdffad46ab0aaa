"""The child process: reads the cases of numbers and tells of each what came of it, one JSON line each.

What belongs here: one case after the other, its time and memory. What does not: choosing numbers, killing (`__main__`).
"""

import json
import random
import sys
import time
import traceback
from pathlib import Path

from ingestion_pipeline.formats.compression import compression_of
from ingestion_pipeline_tests.fuzz.cases import case
from ingestion_pipeline_tests.fuzz.checks import check

_SHORT = 20_000  # bytes; longer files are not read in tiny pieces
_SECONDS, _SECONDS_PER_MEGABYTE = 20.0, 60.0  # of the processor, for all the ways of reading together
_GROWTH_MEGABYTES = 700


def main() -> None:
    for line in sys.stdin:
        number = int(line)
        _tell({"number": number, "state": "begun"})
        _tell({"number": number, "state": "ended", **_judged(number)})


def _judged(number: int) -> dict[str, object]:
    r = random.Random(~number)
    data = case(number)
    pieces, chunks = ([1, 7, 1000], [1, 20, 300, 5000]) if len(data) < _SHORT else ([70_000], [50_000])
    if compression_of(data) is not None:
        chunks = chunks[
            -1:
        ]  # a few bytes may be a hundred kilobytes of text, and each chunk of one line takes its time
    before = _reset_peak()
    started = time.process_time()
    try:
        outcome = check(data, piece=r.choice(pieces), chunk_bytes=r.choice(chunks))
    except BaseException:  # noqa: BLE001 - whatever it is, it is what the fuzzer is looking for
        return {"outcome": "failed", "why": traceback.format_exc(limit=-4)}
    seconds = time.process_time() - started
    grown = _peak() - before
    if seconds > _SECONDS + _SECONDS_PER_MEGABYTE * len(data) / 1e6:
        return {"outcome": "failed", "why": f"took {seconds:.1f} seconds for {len(data)} bytes"}
    if grown > _GROWTH_MEGABYTES:
        return {"outcome": "failed", "why": f"took {grown:.0f} MB for {len(data)} bytes"}
    return {"outcome": outcome}


def _reset_peak() -> float:
    """The memory in use now, in megabytes; `_peak` counts from here."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _tell(entry: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(entry) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
