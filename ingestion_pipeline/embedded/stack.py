"""The embedded stack as one thing: up, down, status, restart.

What belongs here: which services exist, the order in which they start and stop, and what happens when one
fails. What does not: how a service is configured (`postgres`, `s3`, `druid`, `dagster_services`), how a
process is started and recognised (`processes`), what people see of it (`cli.stack`).

Example::

    with Stack(Path("/tmp/try"), free_ports=True) as stack:
        print(stack.environment()["INGESTION_LEDGER_URL"])
"""

import contextlib
import shutil
import signal
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from ingestion_pipeline.embedded import dagster_services, druid, postgres, processes, s3, site
from ingestion_pipeline.embedded.ports import DEFAULT_PORTS, free_ports, is_taken, require_free, with_overrides
from ingestion_pipeline.embedded.processes import ProcessRecord
from ingestion_pipeline.embedded.report import Progress, ServiceStatus, StackEvent, UpReport
from ingestion_pipeline.embedded.service import Service
from ingestion_pipeline.embedded.site import Site
from ingestion_pipeline.errors import IngestionError, StackError
from ingestion_pipeline.settings import data_dir

__all__ = ["DAGSTER", "DRUID", "SERVICES", "Progress", "ServiceStatus", "Stack", "StackEvent", "UpReport"]

DRUID = ("zookeeper", "druid-coordinator", "druid-indexer", "druid-historical", "druid-broker")
DAGSTER = ("code-server", "dagster-webserver", "dagster-daemon")
SERVICES = ("postgres", "s3", *DRUID, *DAGSTER)

# Groups are stopped one after the other, the members of a group together: whoever uses a service ends
# before it, and Druid's processes never end on SIGTERM once ZooKeeper is gone.
_STOP_ORDER = (
    ("dagster-daemon", "dagster-webserver", "code-server"),
    ("druid-indexer", "druid-broker", "druid-historical", "druid-coordinator"),
    ("zookeeper", "s3"),
    ("postgres",),
)
_MINIMUM_FREE_BYTES = 512 * 1024 * 1024
_POLL_SECONDS = 0.2

log = structlog.get_logger(__name__)


def _silent(event: StackEvent) -> None:
    del event


@dataclass
class _Start:
    """What the threads of one `up` share."""

    progress: Progress
    ready: dict[str, threading.Event]
    abort: threading.Event = field(default_factory=threading.Event)
    errors: list[StackError] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    mine: set[str] = field(default_factory=set)


class Stack:
    """One embedded stack in one data directory.

    Args:
        root: The data directory; by default `ingestion_pipeline.settings.data_dir()`.
        ports: Ports by name (`DEFAULT_PORTS` has the names) that differ from the remembered or default ones.
        use_free_ports: Take free ports instead of the friendly defaults; they are remembered.
        module: Python module that the code server serves.
        contracts_dir: Directory of contracts; by default the one of the last `up`, at first the package's own.
        extra_environment: More variables for the Dagster processes.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        ports: Mapping[str, int] | None = None,
        use_free_ports: bool = False,
        module: str = dagster_services.DEFAULT_MODULE,
        contracts_dir: Path | None = None,
        extra_environment: Mapping[str, str] | None = None,
    ) -> None:
        self.root = (root or data_dir()).absolute()
        self._requested_ports = dict(ports or {})
        self._use_free_ports = use_free_ports
        # Remembered like ports: an `up` without it must not fall back to the built-in contracts unsaid.
        remembered = site.read_json(self.root / "options.json").get("contracts_dir")
        self._options = dagster_services.Options(
            module=module,
            contracts_dir=contracts_dir or (Path(remembered) if remembered else None),
            extra_environment=dict(extra_environment or {}),
        )
        self._site: Site | None = None
        self._records_lock = threading.Lock()

    # -- what it is ---------------------------------------------------------------------------------------

    @property
    def site(self) -> Site:
        """Directory, ports and credentials; made and remembered at the first use."""
        if self._site is None:
            self._site = Site(root=self.root, ports=self._choose_ports(), credentials=site.load_credentials(self.root))
        return self._site

    def environment(self) -> dict[str, str]:
        """The variables that connect a program to this stack, as ``stack.env`` has them (secrets included)."""
        return dagster_services.environment(self.site, self._options)

    def pid(self, service: str) -> int | None:
        """Process id of a service; None if it does not run."""
        process = processes.find(site.load_processes(self.root).get(_known(service)))
        return process.pid if process else None

    def log_file(self, service: str) -> Path:
        """Where the service's output is."""
        return self.root / "logs" / f"{_known(service)}.log"

    def status(self) -> list[ServiceStatus]:
        """Every service, in the order of their start; asks each one that runs whether it is ready."""
        records = site.load_processes(self.root)
        return [self._status(service, records.get(name)) for name, service in self._services().items()]

    # -- start --------------------------------------------------------------------------------------------

    def up(self, *, only: Iterable[str] | None = None, progress: Progress = _silent) -> UpReport:
        """Start what does not run yet and wait until every service says that it is ready.

        Args:
            only: These services and what they require; by default all.
            progress: Called for every step, from several threads.

        Returns:
            Seconds, of downloads apart and by service.

        Raises:
            StackError: A service could not start; names it, with the last lines of its log. Everything that
                this call started is stopped again.
        """
        began = time.monotonic()
        with site.exclusive(self.root):
            self._check_room()
            services = self._services()
            wanted = _with_required(services, only)
            download_seconds = 0.0
            if wanted & set(DRUID):
                download_seconds = druid.fetch_jars(
                    lambda done, total: progress(
                        StackEvent(service="druid", state="downloading", done=done, total=total)
                    )
                )
            self._write_environment()
            start = _Start(progress=progress, ready={name: threading.Event() for name in wanted})
            try:
                self._start_all([services[name] for name in services if name in wanted], start)
            except BaseException:
                self._stop(start.mine)
                raise
        seconds = time.monotonic() - began
        log.info("stack_up", seconds=round(seconds - download_seconds, 1), download_seconds=round(download_seconds, 1))
        return UpReport(
            seconds=seconds - download_seconds, download_seconds=download_seconds, service_seconds=start.seconds
        )

    def restart(self, service: str, *, progress: Progress = _silent) -> UpReport:
        """Stop one service in good order and start it again."""
        self.stop(service)
        return self.up(only=[service], progress=progress)

    def respawn(self, service: str) -> bool:
        """Start one service's process if it does not run, and wait for nothing: what an init system does after a crash.

        Unlike `up` it neither starts nor waits for what the service requires, and stops nothing when it fails; the
        service must have been up in this directory before.

        Returns:
            False when it runs already.

        Raises:
            StackError: It cannot be started now, as while a killed server's children still hold its port.
        """
        with site.exclusive(self.root):
            wanted = self._services()[_known(service)]
            if processes.find(site.load_processes(self.root).get(service)) is not None:
                return False
            wanted.prepare()
            require_free(service, wanted.ports)
            self._record(wanted)
            return True

    def is_ready(self, service: str) -> bool:
        """Whether a service runs and says itself that it is ready."""
        if self.pid(service) is None:
            return False
        with contextlib.suppress(StackError):
            return self._services()[service].waiting_for() is None
        return False

    def _record(self, service: Service) -> None:
        record = processes.start(service, self.site.log_file(service.name), now=time.time())
        site.save_processes(self.root, {**site.load_processes(self.root), service.name: record})

    def _start_all(self, services: list[Service], start: _Start) -> None:
        threads = [
            threading.Thread(target=self._start_one, args=(service, start), name=service.name, daemon=True)
            for service in services
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:  # Ctrl-C while waiting
            start.abort.set()
            for thread in threads:
                thread.join()
            raise
        if start.errors:
            raise start.errors[0]

    def _start_one(self, service: Service, start: _Start) -> None:
        try:
            for name in [*service.requires, *(name for name in service.after if name in start.ready)]:
                while not start.ready[name].wait(_POLL_SECONDS):
                    if start.abort.is_set():
                        return
            began = time.monotonic()
            start.progress(StackEvent(service=service.name, state="starting"))
            if processes.find(site.load_processes(self.root).get(service.name)) is None:
                service.prepare()
                require_free(service.name, service.ports)
                with self._records_lock:
                    if start.abort.is_set():
                        return
                    start.mine.add(service.name)
                    self._record(service)
            self._wait_until_ready(service, start)
            service.finish()
            start.seconds[service.name] = time.monotonic() - began
            start.progress(StackEvent(service=service.name, state="ready", seconds=start.seconds[service.name]))
            start.ready[service.name].set()
        except _Aborted:
            return
        except Exception as error:  # noqa: BLE001  # a thread's error is handed to the caller of `up`
            start.errors.append(_as_stack_error(service, error, self.site.log_file(service.name)))
            start.abort.set()
            start.progress(StackEvent(service=service.name, state="failed", detail=str(error)))

    def _wait_until_ready(self, service: Service, start: _Start) -> None:
        deadline = time.monotonic() + service.timeout_seconds
        record = site.load_processes(self.root)[service.name]
        while True:
            if start.abort.is_set():
                raise _Aborted
            missing = service.waiting_for()
            if processes.find(record) is None:
                code = processes.exit_code(record)
                raise self._failure(service, record, f"ended while it started (exit code {code})")
            if missing is None:
                return
            if time.monotonic() > deadline:
                raise self._failure(service, record, f"is not ready after {service.timeout_seconds:g} s ({missing})")
            time.sleep(_POLL_SECONDS)

    def _failure(self, service: Service, record: ProcessRecord, what: str) -> StackError:
        log_file = self.site.log_file(service.name)
        lines = list(service.telling(processes.last_lines(log_file, offset=record.log_offset, count=100)))
        shown = "".join(f"\n  | {line}" for line in lines) or "\n  | (it wrote nothing)"
        return StackError(
            f"{service.name} {what}. Its last log lines:{shown}\n",
            hint=f"The whole log is in {log_file}.",
            details={"service": service.name, "log": lines},
        )

    # -- stop ---------------------------------------------------------------------------------------------

    def down(self) -> list[str]:
        """Stop everything that was recorded: Dagster, Druid, ZooKeeper and S3, PostgreSQL last.

        Returns:
            Names of the services that were running.
        """
        with site.exclusive(self.root):
            return self._stop(SERVICES)

    def stop(self, service: str) -> None:
        """Stop one service in good order."""
        with site.exclusive(self.root):
            self._stop([_known(service)])

    def kill(self, service: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one service's process alone (its children live on), as a crash would."""
        record = site.load_processes(self.root).get(_known(service))
        if record is not None:
            processes.kill(record, number)

    def _stop(self, names: Iterable[str]) -> list[str]:
        records, services, wanted = site.load_processes(self.root), self._services(), set(names)
        stopped = []
        for group in _STOP_ORDER:
            asked = {
                name: (records[name], services[name].stop_signal, services[name].stop_seconds)
                for name in group
                if name in wanted and name in records
            }
            stopped += [name for name, (record, _, _) in asked.items() if processes.find(record) is not None]
            if asked:
                processes.stop(asked)
            for name in asked:
                records.pop(name)
            site.save_processes(self.root, records)
        return stopped

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    # -- parts --------------------------------------------------------------------------------------------

    def _services(self) -> dict[str, Service]:
        here = self.site
        made = [
            postgres.service(here),
            s3.service(here),
            *druid.services(here),
            *dagster_services.services(here, self._options),
        ]
        return {service.name: service for service in made}

    def _choose_ports(self) -> dict[str, int]:
        path = self.root / "ports.json"
        remembered = {name: int(port) for name, port in site.read_json(path).items() if name in DEFAULT_PORTS}
        running = any(processes.find(record) for record in site.load_processes(self.root).values())
        base = {**DEFAULT_PORTS, **remembered}
        if self._use_free_ports and not running and (not remembered or any(is_taken(port) for port in base.values())):
            base = free_ports(DEFAULT_PORTS)
        chosen = with_overrides(base, self._requested_ports)
        if running and remembered and chosen != {**DEFAULT_PORTS, **remembered}:
            raise StackError(
                f"The stack in {self.root} runs with other ports.", hint="Run `ingestion-pipeline down` first."
            )
        if chosen != remembered:
            site.write_json(path, chosen)
        return chosen

    def _write_environment(self) -> None:
        if self._options.contracts_dir is not None:
            site.write_json(self.root / "options.json", {"contracts_dir": str(self._options.contracts_dir.absolute())})
        site.write_private(self.root / "stack.env", site.env_file_text(self.environment()))

    def _check_room(self) -> None:
        free = shutil.disk_usage(self.root).free
        if free < _MINIMUM_FREE_BYTES:
            raise StackError(
                f"The disk of {self.root} has {free // 2**20} MB left; the stack needs {_MINIMUM_FREE_BYTES // 2**20}.",
                hint="Make room, or choose another directory by INGESTION_DATA_DIR.",
            )

    def _status(self, service: Service, record: ProcessRecord | None) -> ServiceStatus:
        process = processes.find(record)
        now, peak = processes.memory_bytes(processes.family(record)) if process and record else (0, 0)
        state = "stopped" if record is None else "dead"
        if process is not None:
            state = "unready"
            with contextlib.suppress(StackError):
                state = "unready" if service.waiting_for() else "ready"
        return ServiceStatus(
            service=service.name,
            state=state,
            pid=process.pid if process else None,
            port=service.ports[0] if service.ports else 0,
            url=service.url,
            rss_bytes=now,
            peak_rss_bytes=peak,
            uptime_seconds=time.time() - record.started_at if process and record else 0.0,
        )


class _Aborted(Exception):
    """Another service failed; this one's start ends without a word."""


def _known(service: str) -> str:
    if service not in SERVICES:
        raise StackError(f"There is no service {service!r}.", hint=f"Services: {', '.join(SERVICES)}.")
    return service


def _with_required(services: Mapping[str, Service], only: Iterable[str] | None) -> set[str]:
    pending = list(SERVICES if only is None else only)
    wanted: set[str] = set()
    while pending:
        name = _known(pending.pop())
        if name not in wanted:
            wanted.add(name)
            pending.extend([*services[name].requires, *services[name].beside])
    return wanted


def _as_stack_error(service: Service, error: Exception, log_file: Path) -> StackError:
    if isinstance(error, StackError):
        return error
    if isinstance(error, IngestionError):
        return StackError(f"{service.name} could not be set up: {error.message}", hint=error.hint)
    if isinstance(error, OSError):
        return StackError(
            f"{service.name} cannot start: {error.strerror or error} ({error.filename or 'no file'}).",
            hint=f"Check free disk space and permissions; its log is {log_file}.",
        )
    lines = processes.last_lines(log_file)
    return StackError(
        f"{service.name} could not be set up: {type(error).__name__}: {str(error).splitlines()[0][:300]}",
        hint=f"Its log is {log_file}.",
        details={"service": service.name, "log": lines},
    )
