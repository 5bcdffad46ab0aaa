"""S3 of the embedded stack: SeaweedFS, one process for master, volume, filer and gateway.

What belongs here: its command line, its one identity and the readiness probe. What does not: reading and
writing objects (`adapters.s3`).
"""

import json
import os
import shutil
import sys
from pathlib import Path

from ingestion_pipeline.embedded.service import LOOPBACK, Service, http_status
from ingestion_pipeline.embedded.site import Site, write_private
from ingestion_pipeline.errors import StackError

NAME = "s3"
BUCKET = "ingestion"
REGION = "us-east-1"


def service(site: Site) -> Service:
    """The server as a process of the stack; the bucket is made when it is ready."""
    ports, data = site.ports, site.root / "s3"
    return Service(
        name=NAME,
        command=[
            str(_binary()),
            "-logtostderr=true",
            "-v=0",
            "server",
            f"-dir={data}",
            f"-ip={LOOPBACK}",
            f"-ip.bind={LOOPBACK}",
            f"-master.port={ports['s3-master']}",
            f"-master.port.grpc={ports['s3-master-grpc']}",
            "-master.telemetry=false",
            # A lone master that starts again waits up to twice this long before it leads; its default is 10 s.
            "-master.electionTimeout=1s",
            "-master.heartbeatInterval=100ms",
            "-master.volumeSizeLimitMB=1024",
            f"-volume.port={ports['s3-volume']}",
            f"-volume.port.grpc={ports['s3-volume-grpc']}",
            "-volume.preStopSeconds=0",
            "-volume.max=200",  # its default of 8 runs out with a second bucket
            "-filer",
            f"-filer.port={ports['s3-filer']}",
            f"-filer.port.grpc={ports['s3-filer-grpc']}",
            "-filer.localSocket=s3/filer.sock",
            "-s3",
            f"-s3.port={ports['s3']}",
            f"-s3.port.grpc={ports['s3-grpc']}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.iam=false",
            "-s3.localSocket=s3/s3.sock",
            f"-s3.config={data / 'identities.json'}",
        ],
        environment={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(data), "TMPDIR": str(data)},
        directory=site.root,
        ports=tuple(ports[name] for name in ("s3", *(name for name in ports if name.startswith("s3-")))),
        url=endpoint(site),
        prepare=lambda: _write_configuration(site, data),
        waiting_for=lambda: _waiting_for(site),
        finish=lambda: _make_bucket(site),
        timeout_seconds=60.0,
        # After SIGTERM it has flushed at once but waits for streams between its own parts without end.
        stop_seconds=1.5,
    )


def endpoint(site: Site) -> str:
    """URL of the S3 gateway."""
    return f"http://{LOOPBACK}:{site.ports['s3']}"


def _binary() -> Path:
    beside = Path(sys.executable).parent / "weed"
    found = beside if beside.is_file() else shutil.which("weed")
    if found is None:
        raise StackError("s3 cannot start: the program weed is missing.", hint="Install the `embedded` packages.")
    return Path(found)


def _write_configuration(site: Site, data: Path) -> None:
    keys = {
        "accessKey": site.credentials.s3_access_key_id,
        "secretKey": site.credentials.s3_secret_access_key,
    }
    identity = {
        "name": "pipeline",
        "credentials": [keys],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    write_private(data / "identities.json", json.dumps({"identities": [identity]}))
    # The servers behind the gateway have doors of their own; tokens that only they can sign shut them.
    doors = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    tokens = "".join(f'[{door}]\nkey = "{site.credentials.s3_internal_key}"\n' for door in doors)
    write_private(data / ".seaweedfs" / "security.toml", tokens)


def _waiting_for(site: Site) -> str | None:
    # Asked without a signature a ready gateway refuses: that also proves that the identities are loaded.
    status, _ = http_status(site.ports["s3"], "/")
    if status != 403:
        return f"the gateway answers {status or 'nothing'} to an unsigned request, not 403"
    # Until the volume server has told the master what it holds, every read fails.
    _, body = http_status(site.ports["s3-master"], "/dir/status")
    known = json.loads(body).get("Topology", {}).get("DataCenters") if body else None
    return None if known else "the volume server has not registered yet"


def _make_bucket(site: Site) -> None:
    from ingestion_pipeline.adapters.s3 import ObjectStore

    ObjectStore(
        bucket=BUCKET,
        endpoint_url=endpoint(site),
        region=REGION,
        access_key_id=site.credentials.s3_access_key_id,
        secret_access_key=site.credentials.s3_secret_access_key,
    ).ensure_bucket()
