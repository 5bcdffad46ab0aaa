"""What an embedded stack keeps in its data directory.

What belongs here: paths, generated credentials, remembered ports and process records, all private to their
owner. What does not: the services themselves. Layout::

    credentials.json  ports.json  processes.json  options.json  stack.env     mode 0600
    postgres/  s3/  druid/  dagster/      data, one directory per service
    logs/                                 one file per service
"""

import contextlib
import fcntl
import json
import os
import secrets
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingestion_pipeline.embedded.processes import ProcessRecord
from ingestion_pipeline.errors import StackError

ROLES = ("owner", "pipeline", "api", "dagster")


@dataclass(frozen=True)
class Credentials:
    """Generated once per data directory; shown by no message or log."""

    postgres: Mapping[str, str]
    s3_access_key_id: str
    s3_secret_access_key: str
    s3_internal_key: str

    def __repr__(self) -> str:
        return "Credentials(...)"


@dataclass(frozen=True, kw_only=True)
class Site:
    """A data directory with its ports and credentials."""

    root: Path
    ports: Mapping[str, int]
    credentials: Credentials

    def directory(self, *parts: str) -> Path:
        """A directory below the root, made if it is not there."""
        path = self.root.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def log_file(self, service: str) -> Path:
        """Where the output of a service goes."""
        return self.root / "logs" / f"{service}.log"


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner alone.

    Raises:
        StackError: The disk is full, or the directory cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise StackError(
            f"{path} cannot be written: {error.strerror}.", hint="Make room or choose another data directory."
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """A file of the data directory; empty if it does not exist.

    Raises:
        StackError: It exists but is not readable as JSON.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        raise StackError(f"{path} cannot be read: {error}.", hint="Restore it, or start in a new directory.") from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a file of the data directory at once, mode 0600."""
    write_private(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def load_credentials(root: Path) -> Credentials:
    """The credentials of a data directory; generated at the first call."""
    path = root / "credentials.json"
    stored = read_json(path)
    complete = {
        "postgres": {role: secrets.token_urlsafe(24) for role in ("postgres", *ROLES)},
        "s3_access_key_id": secrets.token_hex(10),
        "s3_secret_access_key": secrets.token_urlsafe(30),
        "s3_internal_key": secrets.token_urlsafe(30),
        **stored,
    }
    if complete != stored:
        write_json(path, complete)
    return Credentials(**complete)


def load_processes(root: Path) -> dict[str, ProcessRecord]:
    """Process records by service, of this or an earlier `up`."""
    return {name: ProcessRecord(**record) for name, record in read_json(root / "processes.json").items()}


def save_processes(root: Path, records: Mapping[str, ProcessRecord]) -> None:
    """Remember what runs."""
    write_json(root / "processes.json", {name: record.as_dict() for name, record in records.items()})


def env_file_text(variables: Mapping[str, str]) -> str:
    """Variables as a shell and a dotenv reader both take them."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(variables.items()))


@contextlib.contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Hold the data directory: one command at a time starts or stops a stack.

    Raises:
        StackError: Another command holds it, or the directory cannot be made.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (root / "lock").open("a")
    except OSError as error:
        raise StackError(f"The data directory {root} cannot be used: {error.strerror}.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StackError(
                f"Another command starts or stops the stack in {root} right now.", hint="Try again when it is done."
            ) from error
        yield
