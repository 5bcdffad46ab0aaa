"""The jars of Apache Druid: which, from where, and proof that they are the right ones.

What belongs here: the committed list, the download from Maven Central (through `jgo`, which knows its
address) into a cache that all data directories of a user share, the check by sha256. What does not: running
Druid (`druid`).
"""

import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ingestion_pipeline.errors import StackError

LIST_FILE = "druid-33.0.0-jars.tsv"
THREADS = 8
TRIES = 3
_VERIFIED = "verified.json"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Jar:
    """One line of the list; `size_bytes` and `sha256` are those of the file on Maven Central."""

    group: str
    artifact: str
    version: str
    classifier: str
    sha256: str
    size_bytes: int

    @property
    def file_name(self) -> str:
        """Unique in the list: two groups have artifacts of one name and version."""
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.group}.{self.artifact}-{self.version}{classifier}.jar"


def druid_jars() -> list[Jar]:
    """The committed list."""
    text = resources.files(__package__).joinpath(LIST_FILE).read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]
    return [Jar(group, name, version, kind, sha256, int(size)) for group, name, version, kind, sha256, size in rows]


def cache_directory() -> Path:
    """Where the jars are kept for all stacks of this user."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("ingestion-pipeline")) / "druid-33.0.0"


def from_maven_central(jar: Jar, scratch: Path) -> Path:
    """Download one jar below the scratch directory; no other check than HTTP's own."""
    from jgo.maven import MavenContext

    component = MavenContext(repo_cache=scratch, timeout=30).project(jar.group, jar.artifact).at_version(jar.version)
    return Path(component.artifact(jar.classifier).resolve())


def fetch(
    directory: Path,
    jars: Sequence[Jar],
    *,
    progress: Progress,
    download: Callable[[Jar, Path], Path] = from_maven_central,
) -> float:
    """Bring every jar into the directory; what is there and proven is not touched.

    An interrupted download goes on where it ended, jar by jar. Concurrent callers wait for each other.

    Args:
        directory: The cache; made if needed.
        jars: What it must hold.
        progress: Called with bytes done and bytes in all, only if something is downloaded.
        download: Brings one jar below the given directory and returns its path.

    Returns:
        Seconds spent on downloads (0.0 if nothing was missing).

    Raises:
        StackError: A jar could not be downloaded, has a wrong hash, or the disk is full; names it.
    """
    try:
        if not _missing(directory, jars):
            return 0.0
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            began = time.monotonic()
            missing = _missing(directory, jars)
            if missing:
                _download_all(directory, missing, progress, download)
            return time.monotonic() - began
    except OSError as error:
        raise StackError(
            f"druid cannot start: its jars cannot be kept in {directory} ({error.strerror or type(error).__name__}).",
            hint="Make room or set XDG_CACHE_HOME to another disk.",
            details={"service": "druid"},
        ) from error


def _missing(directory: Path, jars: Sequence[Jar]) -> list[Jar]:
    """Jars that are absent or not proven; a changed file is hashed again, an unchanged one is not."""
    try:
        verified = json.loads((directory / _VERIFIED).read_text())
    except (OSError, ValueError):
        verified = {}
    missing, seen = [], {}
    for jar in jars:
        path = directory / jar.file_name
        mark = _mark(path, jar)
        if mark is not None and (verified.get(jar.file_name) == mark or _sha256(path) == jar.sha256):
            seen[jar.file_name] = mark
        else:
            missing.append(jar)
    if directory.is_dir() and seen != verified:
        with tempfile.NamedTemporaryFile("w", dir=directory, prefix=".verified-", delete=False) as file:
            json.dump(seen, file)
        os.replace(file.name, directory / _VERIFIED)  # noqa: PTH105  # the name is a string here
    return missing


def _mark(path: Path, jar: Jar) -> list[int | str] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return [jar.sha256, stat.st_size, stat.st_mtime_ns]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download_all(
    directory: Path, jars: Sequence[Jar], progress: Progress, download: Callable[[Jar, Path], Path]
) -> None:
    total = sum(jar.size_bytes for jar in jars)
    done = 0
    progress(done, total)
    with (
        tempfile.TemporaryDirectory(dir=directory, prefix=".download-") as scratch,
        ThreadPoolExecutor(THREADS, thread_name_prefix="jar") as pool,
    ):
        # The largest first: the last thread then ends with a small one.
        ordered = sorted(jars, key=lambda jar: -jar.size_bytes)
        futures = {pool.submit(_download_one, jar, Path(scratch), directory, download): jar for jar in ordered}
        try:
            for future in as_completed(futures):
                future.result()
                done += futures[future].size_bytes
                progress(done, total)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _download_one(jar: Jar, scratch: Path, directory: Path, download: Callable[[Jar, Path], Path]) -> None:
    path = None
    for attempt in range(1, TRIES + 1):
        try:
            path = download(jar, scratch / f"{jar.sha256[:16]}-{attempt}")
            break
        except OSError as error:  # requests' errors are OSErrors too
            if error.errno is not None or attempt == TRIES:
                raise _download_error(jar, error) from error
        except RuntimeError as error:  # jgo: not in the repository
            raise _download_error(jar, error) from error
        time.sleep(attempt)
    assert path is not None
    found = _sha256(path)
    if found != jar.sha256:
        raise StackError(
            f"druid cannot start: {jar.file_name} was downloaded with sha256 {found[:16]}…, "
            f"but {jar.sha256[:16]}… is expected.",
            hint="Something between here and Maven Central changes files; nothing of it was kept. Try again.",
            details={"service": "druid", "jar": jar.file_name, "sha256": found},
        )
    path.replace(directory / jar.file_name)


def _download_error(jar: Jar, error: Exception) -> StackError:
    reason = getattr(error, "strerror", None) or type(error).__name__
    return StackError(
        f"druid cannot start: {jar.file_name} could not be downloaded from Maven Central ({reason}).",
        hint="Check the network and free disk space, then try again: what is there already is kept.",
        details={"service": "druid", "jar": jar.file_name},
    )
