"""The frame around a contender: its task on stdin, its figures on stdout.

What belongs here: what is the same for all of them, with the standard library alone: it runs in two environments.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """What to do.

    Attributes:
        source: Key of the file.
        target: Prefix of the keys to write.
        contract: The contract's file.
        settings: Environment of the pipeline.
        profile: Say where time goes, if the contender can.
    """

    endpoint: str
    region: str
    access_key: str
    secret_key: str
    bucket: str
    source: str
    target: str
    contract: str
    settings: dict[str, str]
    profile: bool = False

    @property
    def storage_options(self) -> dict[str, str]:
        """As object stores in Rust want them."""
        return {
            "aws_endpoint_url": self.endpoint,
            "aws_region": self.region,
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "aws_allow_http": "true",
        }

    def store(self) -> Any:
        """The bucket, for contenders without a client of their own."""
        from obstore.store import S3Store

        return S3Store(
            self.bucket,
            endpoint=self.endpoint,
            region=self.region,
            access_key_id=self.access_key,
            secret_access_key=self.secret_key,
            client_options={"allow_http": True},
        )


def perform(prepare: Callable[[Task], Callable[[], dict[str, Any]]]) -> None:
    """Run the contender of this process.

    Args:
        prepare: Imports what is needed and returns the work; only the work is timed. What it returns are its figures,
            or functions that find them out afterwards.
    """
    work = prepare(Task(**json.load(sys.stdin)))
    imports = peak_rss_bytes()
    began, cpu = time.perf_counter(), time.process_time()
    found = work()
    figures = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
        "imports_bytes": imports,
        "peak_bytes": peak_rss_bytes(),
    }
    found = {name: value() if callable(value) else value for name, value in found.items()}
    print(json.dumps(found | figures, default=str), flush=True)


def peak_rss_bytes() -> int:
    """The most memory that this process has held (VmHWM)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM: this benchmark needs Linux.")
