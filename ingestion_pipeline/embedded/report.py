"""What the embedded stack tells about itself: steps of a start, durations, the state of a service.

What belongs here: values only. What does not: finding them out (`stack`) or showing them (`cli.stack`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StackEvent:
    """A step of a start: `state` is ``downloading``, ``starting``, ``ready`` or ``failed``."""

    service: str
    state: str
    seconds: float = 0.0
    detail: str = ""
    done: int = 0
    total: int = 0


@dataclass(frozen=True, kw_only=True)
class UpReport:
    """How long a start took; downloads are told apart, for they depend on the network."""

    seconds: float
    download_seconds: float
    service_seconds: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class ServiceStatus:
    """A service as `status` shows it; `state` is ``ready``, ``unready``, ``dead`` or ``stopped``."""

    service: str
    state: str
    pid: int | None
    port: int
    url: str
    rss_bytes: int
    peak_rss_bytes: int
    uptime_seconds: float


Progress = Callable[[StackEvent], None]
