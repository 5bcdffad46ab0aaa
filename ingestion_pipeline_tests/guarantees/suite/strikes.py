"""The blows of a schedule, and what became of each: what was hit, when, and how long until work went on.

What belongs here: killing, stopping and continuing, armed faults, watching a hit service until it answers again. What
does not: starting again what was killed (`keeper`). Processes are hit by pid, and only those of the play's own stack.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import psutil

from ingestion_pipeline.errors import StackError
from ingestion_pipeline_tests.guarantees.faults import Faults, Point, Signal
from ingestion_pipeline_tests.guarantees.suite.keeper import Keeper, family, workers
from ingestion_pipeline_tests.guarantees.suite.schedule import WORKER, Strike

POLL_SECONDS = 0.25
# How long a strike on a worker waits for one to be there.
WORKER_SECONDS = 90.0


@dataclass(slots=True)
class Hit:
    """What became of a strike.

    Attributes:
        at: Second of the play in which it struck; None: it found nothing to strike.
        until: When what was stopped went on, or what was away began to come back.
        ready_after: Seconds from there until the service answered again.
        pids: Processes that were hit.
    """

    strike: Strike
    at: float | None = None
    until: float | None = None
    ready_after: float | None = None
    pids: tuple[int, ...] = ()
    note: str = ""


@dataclass(slots=True)
class Striker:
    """Plays the strikes of a schedule.

    Attributes:
        clock: Seconds since the play began.
    """

    keeper: Keeper
    faults: Faults
    strikes: Sequence[Strike]
    clock: Callable[[], float]
    hits: list[Hit] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lift: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._run(self._play)

    def is_done(self) -> bool:
        """Whether every strike has been dealt; armed ones may still wait for their worker."""
        return not self._threads[0].is_alive()

    @property
    def lifted(self) -> bool:
        return self._lift.is_set()

    def lift(self) -> None:
        """End every stop and take back what is armed; returns once everything that was hit has been let go."""
        self._stop.set()
        self._lift.set()
        for thread in self._threads:
            thread.join(timeout=300)

    def _run(self, what: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                what()
            except Exception as error:  # noqa: BLE001  # a defect of the suite is told, and the play goes on
                self.errors.append(f"{type(error).__name__}: {error}")

        thread = threading.Thread(target=guarded, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _play(self) -> None:
        for strike in self.strikes:
            if self._stop.wait(max(0.0, strike.at - self.clock())):
                return
            hit = Hit(strike)
            self.hits.append(hit)
            self._deal(hit)

    def _deal(self, hit: Hit) -> None:
        strike = hit.strike
        if strike.is_armed:
            self._run(lambda: self._arm(hit))
        elif strike.blow == "restart":
            hit.at = self.clock()
            self.keeper.restart_everything()
            hit.until, hit.ready_after = self.clock(), 0.0
        elif strike.blow == "power_cut":
            hit.at = self.clock()
            hit.note = f"{self.keeper.power_cut(again_after=strike.seconds)} processes"
            hit.until = self.clock() + strike.seconds
            self._run(lambda: self._watch(hit, None))
        elif strike.target == WORKER:
            self._run(lambda: self._hit_worker(hit))
        elif strike.blow == "stop":
            self._run(lambda: self._stop_service(hit))
        else:
            hit.at = self.clock()
            pid = self.keeper.kill(strike.target, again_after=strike.seconds)
            hit.pids = (pid,) if pid is not None else ()
            hit.note = "" if pid is not None else "it was down already"
            hit.until = hit.at + strike.seconds
            self._run(lambda: self._watch(hit, strike.target))

    def _stop_service(self, hit: Hit) -> None:
        # PostgreSQL's backends go on without their postmaster; a stopped server is one of which nothing answers.
        whole = hit.strike.target == "postgres"
        found = family(self.keeper.stack, [hit.strike.target])
        self._hold(hit, found if whole else found[:1])
        self._watch(hit, hit.strike.target)

    def _hit_worker(self, hit: Hit) -> None:
        deadline = time.monotonic() + WORKER_SECONDS
        while not (found := workers(self.keeper.stack)) and time.monotonic() < deadline and not self._stop.is_set():
            time.sleep(POLL_SECONDS)
        if not found:
            hit.note = "no run was at work"
            return
        victim = found[int(hit.strike.pick * len(found))]
        if hit.strike.blow == "stop":
            self._hold(hit, [victim])
            return
        hit.at, hit.pids = self.clock(), (victim.pid,)
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()

    def _hold(self, hit: Hit, victims: Sequence[psutil.Process]) -> None:
        """Stop processes for as long as the strike says, or until everything is lifted."""
        hit.at, hit.pids = self.clock(), tuple(process.pid for process in victims)
        if not victims:
            hit.note = "it was down already"
        try:
            for process in victims:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGSTOP)
            self._lift.wait(hit.strike.seconds)
        finally:
            for process in victims:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)
        hit.until = self.clock()

    def _arm(self, hit: Hit) -> None:
        point, datasource = hit.strike.target.split(":")
        place = cast(Point, point)
        number: Signal = "SIGKILL" if hit.strike.blow == "arm_kill" else "SIGSTOP"
        while self.faults.is_armed(place, datasource):  # one fault a point: the later one waits for its turn
            if self._stop.wait(POLL_SECONDS):
                hit.note = "nobody came by"
                return
        before = self._struck(place, datasource)
        self.faults.arm(place, datasource, number)
        while not (new := self._struck(place, datasource) - before):
            if self._stop.wait(POLL_SECONDS) and self.faults.disarm(place, datasource):
                hit.note = "nobody came by"
                return
        hit.at, hit.pids = self.clock(), tuple(new)
        if number == "SIGKILL":
            return
        self._lift.wait(hit.strike.seconds)
        for pid in new:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.status() == psutil.STATUS_STOPPED:
                    process.send_signal(signal.SIGCONT)
        hit.until = self.clock()

    def _struck(self, point: Point, datasource: str) -> set[int]:
        return {int(path.suffix[1:]) for path in self.faults.directory.glob(f"{point}.{datasource}.*")}

    def _watch(self, hit: Hit, service: str | None) -> None:
        """Until the service (or every one) answers again."""
        assert hit.until is not None
        time.sleep(max(0.0, hit.until - self.clock()))
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            with contextlib.suppress(StackError, OSError):
                if self.keeper.stack.is_ready(service) if service else not self.keeper.everything_runs(0):
                    hit.ready_after = self.clock() - hit.until
                    return
            time.sleep(POLL_SECONDS)
        hit.note = "it did not answer again within 300 s"
