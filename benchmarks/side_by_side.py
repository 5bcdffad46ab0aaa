"""Contenders run and measured: each in a process of its own, with the memory of that process and its children.

What belongs here: starting a contender (`benchmarks.contenders`), its figures, a table of them. What does not: which
files, what is promised.
"""

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import psutil
from obstore.exceptions import BaseError

from benchmarks.common import Bench, say, table
from benchmarks.contenders.task import Task
from ingestion_pipeline.errors import S3Unavailable

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
PEERS_PYTHON = ROOT / ".venv-peers/bin/python"
_LOOK_SECONDS = 0.05
_UPLOADS = 5


@dataclass(frozen=True)
class Contender:
    """One of them; `is_peer`: its packages are in the peers' environment."""

    module: str
    name: str
    is_peer: bool = True


BARE = Contender("bare_polars", "bare Polars, nothing checked", is_peer=False)
OURS = Contender("ours", "validate + transform, the whole contract", is_peer=False)
PEERS = (
    Contender("duckdb_casts", "DuckDB, casts and rejects"),
    Contender("pandas_pandera", "pandas + Pandera in chunks"),
    Contender("dlt_contract", "dlt, typed columns, discard_row"),
)


def upload(bench: Bench, write: Callable[..., T], *keys: str) -> T:
    """Let `write` fill objects; once more when the server, busy as it may be, lost one of its parts."""
    for _ in range(_UPLOADS - 1):
        try:
            return _uploaded(bench, write, keys)
        except (BaseError, S3Unavailable) as error:
            say(f"  Once more: {str(error).splitlines()[0][:100]}")
    return _uploaded(bench, write, keys)


def _uploaded(bench: Bench, write: Callable[..., T], keys: Sequence[str]) -> T:
    with ExitStack() as stack:
        return write(*(stack.enter_context(bench.bucket.writer(key)) for key in keys))


def task_of(bench: Bench, *, source: str, target: str, contract: Path, profile: bool = False) -> Task:
    """The task on the stack's own S3 server."""
    settings = bench.settings
    assert settings.s3_access_key_id is not None
    assert settings.s3_secret_access_key is not None
    variables = bench.stack.environment()
    return Task(
        endpoint=settings.s3_endpoint_url or "",
        region=settings.s3_region,
        access_key=settings.s3_access_key_id.get_secret_value(),
        secret_key=settings.s3_secret_access_key.get_secret_value(),
        bucket=settings.s3_bucket,
        source=source,
        target=target,
        contract=str(contract),
        settings={n.removeprefix("INGESTION_").lower(): v for n, v in variables.items() if n.startswith("INGESTION_")},
        profile=profile,
    )


def perform(contender: Contender, task: Task, *, seconds: float | None = None) -> dict[str, Any]:
    """Run it once.

    Returns:
        Its figures; `peak_bytes` is the sum of the VmHWM of its process and of each child that it had. One that failed
        or took longer than allowed has only `failed`.
    """
    python = PEERS_PYTHON if contender.is_peer else Path(sys.executable)
    if not python.exists():
        return {"failed": "not installed: make bench-peers"}
    with tempfile.TemporaryFile("w+") as errors:
        worker = subprocess.Popen(
            [str(python), "-m", f"benchmarks.contenders.{contender.module}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        with _watched_children(worker.pid) as children:
            try:
                out, _ = worker.communicate(json.dumps(asdict(task)), timeout=seconds)
            except BaseException as error:
                worker.kill()
                worker.wait()
                if isinstance(error, subprocess.TimeoutExpired):
                    return {"failed": f"not done after {seconds:.0f} s"}
                raise
        if worker.returncode:
            errors.seek(0)
            lines = errors.read().strip().splitlines() or [f"exit code {worker.returncode}"]
            return {"failed": lines[-1][:200], "errors": "\n".join(lines)}
    figures: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return figures | {"peak_bytes": figures["peak_bytes"] + sum(children.values()), "children": len(children)}


@contextmanager
def _watched_children(pid: int) -> Iterator[dict[int, int]]:
    """The highest VmHWM seen of each descendant, by process id."""
    peaks: dict[int, int] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_SECONDS):
            try:
                children = psutil.Process(pid).children(recursive=True)
            except psutil.NoSuchProcess:
                return
            for child in children:
                peaks[child.pid] = max(peaks.get(child.pid, 0), _peak(child.pid))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()


def _peak(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0  # it has ended
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def compare(results: dict[Contender, list[dict[str, Any]]], rows: int, bare: dict[str, float]) -> None:
    """A table: medians of seconds, the highest of the peaks, as ratios to bare Polars."""
    lines: list[Sequence[Any]] = []
    for contender, runs in results.items():
        good = [run for run in runs if "failed" not in run]
        if not good:
            say(f"  {contender.name}: {runs[0]['failed']}")
            continue
        seconds, cpu = middle(good, "seconds"), middle(good, "cpu_seconds")
        peak = max(run["peak_bytes"] for run in good)
        ratios = [f"{value / bare[which]:.2f}" for which, value in (("seconds", seconds), ("cpu_seconds", cpu))]
        bad = "" if "rows_out" not in good[0] else rows - good[0]["rows_out"]
        lines.append((contender.name, seconds, ratios[0], cpu, ratios[1], int(rows / seconds), peak // 10**6, bad))
    table(["", "seconds", "x bare", "CPU seconds", "x bare", "rows/s", "peak MB", "rows left out"], lines)


def middle(runs: Sequence[dict[str, Any]], which: str) -> float:
    return float(median(run[which] for run in runs))
