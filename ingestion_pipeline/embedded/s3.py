"""S3 of the embedded stack: SeaweedFS, one process for master, volume, filer and gateway.

What belongs here: its command line, its one identity and the readiness probe. What does not: reading and
writing objects (`adapters.s3`).
"""

import json
import os
import shutil
import sys
from pathlib import Path

from ingestion_pipeline.embedded.service import LOOPBACK, Service, http_status, tcp_missing
from ingestion_pipeline.embedded.site import Site, write_private
from ingestion_pipeline.errors import StackError

NAME = "s3"
BUCKET = "ingestion"
REGION = "us-east-1"


def service(site: Site) -> Service:
    """The server as a process of the stack; the bucket is made when it is ready."""
    ports, data = site.ports, site.root / "s3"
    config = data / "identities.json"
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
            "-master.volumeSizeLimitMB=1024",
            f"-volume.port={ports['s3-volume']}",
            f"-volume.port.grpc={ports['s3-volume-grpc']}",
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
            f"-s3.config={config}",
        ],
        environment={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(data), "TMPDIR": str(data)},
        directory=site.root,
        ports=tuple(ports[name] for name in ("s3", *(name for name in ports if name.startswith("s3-")))),
        url=endpoint(site),
        prepare=lambda: _write_identities(site, config),
        waiting_for=lambda: _waiting_for(site),
        finish=lambda: _make_bucket(site),
        timeout_seconds=60.0,
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


def _write_identities(site: Site, config: Path) -> None:
    keys = {
        "accessKey": site.credentials.s3_access_key_id,
        "secretKey": site.credentials.s3_secret_access_key,
    }
    identity = {
        "name": "pipeline",
        "credentials": [keys],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    write_private(config, json.dumps({"identities": [identity]}))


def _waiting_for(site: Site) -> str | None:
    # Asked without a signature a ready gateway refuses: that also proves that the identities are loaded.
    status, _ = http_status(site.ports["s3"], "/")
    if status != 403:
        return f"the gateway answers {status or 'nothing'} to an unsigned request, not 403"
    return tcp_missing(site.ports["s3-volume"])


def _make_bucket(site: Site) -> None:
    import subprocess

    subprocess.run(
        [
            str(_binary()),
            "shell",
            f"-master={LOOPBACK}:{site.ports['s3-master']}.{site.ports['s3-master-grpc']}",
            f"-filer={LOOPBACK}:{site.ports['s3-filer']}.{site.ports['s3-filer-grpc']}",
        ],
        input=f"s3.bucket.create -name {BUCKET}\n",
        text=True,
        capture_output=True,
        check=True,
    )
