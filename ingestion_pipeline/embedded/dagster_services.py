"""Dagster of the embedded stack: code server, webserver and daemon, three processes.

What belongs here: their command lines, DAGSTER_HOME, the variables that connect them (and any other program)
to the stack, readiness by asking. What does not: definitions. Nothing here imports Dagster: it is spoken to
over HTTP and gRPC.
"""

import http.client
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from ingestion_pipeline.embedded import postgres, s3
from ingestion_pipeline.embedded.processes import find
from ingestion_pipeline.embedded.service import LOOPBACK, Service, http_missing, tcp_missing
from ingestion_pipeline.embedded.site import Site, load_processes
from ingestion_pipeline.errors import StackError

DEFAULT_MODULE = "ingestion_pipeline.definitions"
LOCATION = "ingestion_pipeline"

_LOCATIONS_QUERY = """{ workspaceOrError { ... on Workspace { locationEntries {
  name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } } }"""
_DAEMONS_QUERY = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy lastHeartbeatTime } } } }"
_RELOAD = f'mutation {{ reloadRepositoryLocation(repositoryLocationName: "{LOCATION}") {{ __typename }} }}'


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a caller may change about the Dagster processes."""

    module: str = DEFAULT_MODULE
    contracts_dir: Path | None = None
    extra_environment: Mapping[str, str] = field(default_factory=dict)


def environment(site: Site, options: Options) -> dict[str, str]:
    """The variables of ``stack.env``: settings of the pipeline and of Dagster, secrets included."""
    ports = site.ports
    coordinator = f"http://{LOOPBACK}:{ports['druid-coordinator']}"
    variables = {
        "INGESTION_DATA_DIR": str(site.root),
        "INGESTION_LEDGER_URL": postgres.url(site, "pipeline"),
        "INGESTION_LEDGER_OWNER_URL": postgres.url(site, "owner"),
        "INGESTION_S3_BUCKET": s3.BUCKET,
        "INGESTION_S3_ENDPOINT_URL": s3.endpoint(site),
        "INGESTION_S3_REGION": s3.REGION,
        "INGESTION_S3_ACCESS_KEY_ID": site.credentials.s3_access_key_id,
        "INGESTION_S3_SECRET_ACCESS_KEY": site.credentials.s3_secret_access_key,
        "INGESTION_DRUID_COORDINATOR_URL": coordinator,
        "INGESTION_DRUID_OVERLORD_URL": coordinator,
        "INGESTION_DRUID_BROKER_URL": f"http://{LOOPBACK}:{ports['druid-broker']}",
        # Its broker refreshes every second, and its op outputs need not leave the machine.
        "INGESTION_DRUID_REFRESH_SECONDS": "2",
        "INGESTION_OP_OUTPUTS": "local",
        # Receivers of callbacks may be on this machine, as everything else of this stack is.
        "INGESTION_CALLBACK_ALLOWED": "127.0.0.1,::1",
        "INGESTION_DAGSTER_URL": f"http://{LOOPBACK}:{ports['dagster']}",
        "DAGSTER_HOME": str(_home(site)),
        # A busy machine takes its time to start a run; Dagster's minute would call such runs failed.
        "DAGSTER_GRPC_TIMEOUT_SECONDS": "300",
        "DAGSTER_PG_HOST": LOOPBACK,
        "DAGSTER_PG_PORT": str(ports["postgres"]),
        "DAGSTER_PG_USERNAME": "dagster",
        "DAGSTER_PG_PASSWORD": site.credentials.postgres["dagster"],
        "DAGSTER_PG_DB": postgres.DAGSTER_DATABASE,
        "DAGSTER_CODE_SERVER_HOST": LOOPBACK,
        "DAGSTER_CODE_SERVER_PORT": str(ports["code-server"]),
    }
    if options.contracts_dir is not None:
        variables["INGESTION_CONTRACTS_DIR"] = str(options.contracts_dir.absolute())
    return {**variables, **options.extra_environment}


def services(site: Site, options: Options) -> list[Service]:
    """Code server, webserver and daemon."""
    ports, home = site.ports, _home(site)
    workspace = ["-w", str(home / "workspace.yaml")]
    # The caller's own settings must not leak into a stack that has its own; and every run imports everything anew,
    # so bytecode is to be kept.
    foreign = ("INGESTION_", "DAGSTER_", "PYTHONDONTWRITEBYTECODE")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    variables = {**inherited, "PYTHONUNBUFFERED": "1", **environment(site, options)}
    python = [sys.executable, "-m"]

    def service(name: str, command: list[str], **more: Any) -> Service:
        return Service(
            name=name, command=[*python, *command], environment=variables, directory=home, timeout_seconds=240.0, **more
        )

    return [
        service(
            "code-server",
            ["dagster", "api", "grpc", "-h", LOOPBACK, "-p", str(ports["code-server"]), "-m", options.module],
            ports=(ports["code-server"],),
            requires=(postgres.NAME,),
            beside=(s3.NAME,),
            prepare=partial(_write_home, home),
            waiting_for=partial(_waiting_for_code_server, ports["code-server"]),
            telling=root_cause,
        ),
        service(
            "dagster-webserver",
            ["dagster_webserver", "-h", LOOPBACK, "-p", str(ports["dagster"]), *workspace],
            ports=(ports["dagster"],),
            url=f"http://{LOOPBACK}:{ports['dagster']}",
            requires=(postgres.NAME,),
            beside=("code-server",),
            waiting_for=partial(_waiting_for_webserver, site),
        ),
        service(
            "dagster-daemon",
            ["dagster._daemon", "run", *workspace],
            ports=(),
            requires=("code-server",),
            beside=("dagster-webserver",),
            waiting_for=partial(_waiting_for_daemon, site),
        ),
    ]


def root_cause(lines: Sequence[str]) -> Sequence[str]:
    """The end of the first traceback of a chain: the error in the definitions, not Dagster's around it."""
    for number, line in enumerate(lines):
        if line.startswith("The above exception was the direct cause"):
            return lines[max(0, number - 6) : number]
    return lines[-12:]


def _home(site: Site) -> Path:
    return site.directory("dagster")


def _write_home(home: Path) -> None:
    for name in ("dagster.yaml", "workspace.yaml"):
        text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
        (home / name).write_text(text, encoding="utf-8")


def _waiting_for_code_server(port: int) -> str | None:
    missing = tcp_missing(port)
    if missing:
        return missing
    import grpc  # type: ignore[import-untyped]
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

    with grpc.insecure_channel(f"{LOOPBACK}:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service="DagsterApi"), timeout=5
            )
        except grpc.RpcError as error:
            return f"its health check gives {error.code().name}"
    return None if answer.status == health_pb2.HealthCheckResponse.SERVING else "it loads the definitions"


def graphql(port: int, query: str, *, timeout_seconds: float = 10.0) -> dict[str, Any] | None:
    """The data of a GraphQL answer; None when the webserver does not answer (yet)."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout_seconds)
    try:
        connection.request("POST", "/graphql", json.dumps({"query": query}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        data = json.loads(answer.read()).get("data") if answer.status == 200 else None
        return data if isinstance(data, dict) else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _waiting_for_webserver(site: Site) -> str | None:
    port = site.ports["dagster"]
    missing = http_missing(port, "/server_info")
    if missing:
        return missing
    answer = graphql(port, _LOCATIONS_QUERY)
    entries = ((answer or {}).get("workspaceOrError") or {}).get("locationEntries") or []
    if not entries:
        return "it does not know the code location yet"
    outcome = entries[0]["locationOrLoadError"] or {}
    if outcome.get("__typename") != "PythonError":
        return None if entries[0]["loadStatus"] == "LOADED" else "it loads the code location"
    message = str(outcome["message"]).strip()
    if "DagsterUserCodeUnreachableError" in message:
        graphql(port, _RELOAD)
        return "it does not reach the code server"
    raise StackError(
        "The definitions cannot be loaded: " + "\n  | ".join(message.splitlines()[-6:]),
        hint=f"The whole traceback is in {site.log_file('code-server')}.",
        details={"service": "code-server"},
    )


def _waiting_for_daemon(site: Site) -> str | None:
    answer = graphql(site.ports["dagster"], _DAEMONS_QUERY)
    if answer is None:
        return "the webserver, which knows its heartbeat, does not answer yet"
    record = load_processes(site.root).get("dagster-daemon")
    since = record.started_at if record and find(record) else 0.0
    required = [status for status in answer["instance"]["daemonHealth"]["allDaemonStatuses"] if status["required"]]
    silent = [
        status["daemonType"]
        for status in required
        if not status["healthy"] or (status["lastHeartbeatTime"] or 0) < since
    ]
    return f"no heartbeat yet from {', '.join(sorted(silent))}" if silent else None
