"""The init system of the play: starts a service again a moment after its process has gone, whatever the reason.

What belongs here: noticing that a process is gone, starting it again, seeing when it answers, and finding run workers.
What does not: hitting them (`strikes`). It looks at processes alone, as an init system does: a service that hangs is
left to itself.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil

from ingestion_pipeline.embedded import processes, site
from ingestion_pipeline.embedded.stack import SERVICES, Stack
from ingestion_pipeline.errors import StackError

LOOK_SECONDS = 0.25
# After an end that nobody ordered, and between two starts that failed.
RESTART_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """A start by the keeper."""

    at: float
    service: str
    ordered: bool


class Keeper:
    """Keeps one stack's services running, in a thread of its own.

    Args:
        clock: Seconds since the play began.
    """

    def __init__(self, stack: Stack, clock: Callable[[], float]) -> None:
        self.stack, self._clock = stack, clock
        self._due: dict[str, float] = {}
        self._ordered: set[str] = set()
        self.restarts: list[Restart] = []
        self.failures: list[str] = []
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=120)

    def kill(self, service: str, *, again_after: float) -> int | None:
        """Kill a service's process; it is started again after so many seconds. Returns its pid, if it ran."""
        with self._lock:
            pid = self.stack.pid(service)
            self._due[service] = self._clock() + again_after
            self._ordered.add(service)
            self.stack.kill(service)
        return pid

    def power_cut(self, *, again_after: float) -> int:
        """Kill every process of the stack at once, workers and orphans too; returns how many."""
        with self._lock:
            victims = [*family(self.stack, SERVICES), *workers(self.stack)]
            for service in SERVICES:
                self._due[service] = self._clock() + again_after
                self._ordered.add(service)
            for process in victims:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        return len({process.pid for process in victims})

    def restart_everything(self) -> None:
        """Stop and start the stack in good order."""
        with self._lock:
            self.stack.down()
            self._start_everything()

    def _start_everything(self) -> None:
        for last in (False, False, True):
            try:
                self.stack.up()
                return
            except StackError as error:
                self.failures.append(f"{self._clock():.0f} s  everything: {error.message.splitlines()[0]}")
                if last:
                    raise

    def everything_runs(self, seconds: float) -> list[str]:
        """Wait until every service is ready; names those that are not after so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            missing = [name for name in SERVICES if not self.stack.is_ready(name)]
            if not missing or time.monotonic() > deadline:
                return missing
            time.sleep(1)

    def _keep(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            with self._lock:
                for service in SERVICES:
                    self._look(service)

    def _look(self, service: str) -> None:
        if self.stack.pid(service) is not None:
            return
        due = self._due.setdefault(service, self._clock() + RESTART_SECONDS)
        if self._clock() < due:
            return
        try:
            self.stack.respawn(service)
        except StackError as error:
            self.failures.append(f"{self._clock():.0f} s  {service}: {error.message.splitlines()[0]}")
            self._due[service] = self._clock() + RESTART_SECONDS
            return
        del self._due[service]
        self.restarts.append(Restart(at=self._clock(), service=service, ordered=service in self._ordered))
        self._ordered.discard(service)


def family(stack: Stack, services: Iterable[str]) -> list[psutil.Process]:
    """Services' processes with everything below them: PostgreSQL's backends are in sessions of their own."""
    found = []
    for record in (site.load_processes(stack.root).get(service) for service in services):
        process = processes.find(record)
        if process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [process, *process.children(recursive=True)]
    return found


def workers(stack: Stack) -> list[psutil.Process]:
    """Run workers, oldest first: those too that have outlived the code server that began them."""
    mark = f"code-server@{stack.root}"
    found = []
    for process in psutil.process_iter(["create_time"]):
        try:
            # Spawned by multiprocessing; its resource tracker is spawned as well and is none.
            if any("spawn_main" in word for word in process.cmdline()) and (
                process.environ().get(processes.MARKER) == mark
            ):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return sorted(found, key=lambda process: float(process.info["create_time"]))
