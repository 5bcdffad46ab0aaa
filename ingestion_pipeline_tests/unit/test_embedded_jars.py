"""The jar cache: only proven files get in, what is there is not fetched again."""

import hashlib
import threading
from pathlib import Path

import pytest
import requests

from ingestion_pipeline.embedded import jars
from ingestion_pipeline.embedded.jars import Jar
from ingestion_pipeline.errors import StackError

CONTENTS = {f"part-{number}": f"content of {number}".encode() * number for number in range(1, 6)}


def _jar(artifact: str, content: bytes) -> Jar:
    return Jar("org.example", artifact, "1.0", "", hashlib.sha256(content).hexdigest(), len(content))


JARS = [_jar(artifact, content) for artifact, content in CONTENTS.items()]


class Central:
    """Stands for Maven Central: counts downloads, can lie or fail for one artifact."""

    def __init__(self, *, wrong: str = "", failing: str = "", error: Exception | None = None) -> None:
        self.wrong, self.failing, self.error = wrong, failing, error
        self.served: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, jar: Jar, scratch: Path) -> Path:
        if jar.artifact == self.failing and self.error is not None:
            raise self.error
        with self._lock:
            self.served.append(jar.artifact)
        scratch.mkdir(parents=True)
        path = scratch / jar.file_name
        path.write_bytes(b"something else" if jar.artifact == self.wrong else CONTENTS[jar.artifact])
        return path


def _fetch(directory: Path, central: Central) -> list[tuple[int, int]]:
    steps: list[tuple[int, int]] = []
    jars.fetch(directory, JARS, progress=lambda done, total: steps.append((done, total)), download=central)
    return steps


def test_all_jars_arrive_with_progress_in_bytes(tmp_path: Path) -> None:
    steps = _fetch(tmp_path, Central())
    total = sum(map(len, CONTENTS.values()))
    assert steps[0] == (0, total)
    assert steps[-1] == (total, total)
    for jar in JARS:
        assert (tmp_path / jar.file_name).read_bytes() == CONTENTS[jar.artifact]


def test_a_full_cache_downloads_nothing_and_says_nothing(tmp_path: Path) -> None:
    _fetch(tmp_path, Central())
    second = Central()
    assert _fetch(tmp_path, second) == []
    assert second.served == []


def test_a_wrong_hash_names_the_jar_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"part-3-1\.0\.jar was downloaded with sha256") as caught:
        _fetch(tmp_path, Central(wrong="part-3"))
    assert caught.value.hint
    assert not (tmp_path / "org.example.part-3-1.0.jar").exists()
    assert not list(tmp_path.glob(".download-*"))


def test_a_failed_download_is_continued_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars.time, "sleep", lambda seconds: None)
    first = Central(failing="part-1", error=requests.ConnectionError("https://host.example/path?token=1"))
    with pytest.raises(StackError, match=r"part-1-1\.0\.jar could not be downloaded") as caught:
        _fetch(tmp_path, first)
    assert "token" not in str(caught.value)
    kept = {jar.artifact for jar in JARS if (tmp_path / jar.file_name).exists()}
    second = Central()
    _fetch(tmp_path, second)
    assert set(second.served) == set(CONTENTS) - kept
    assert "part-1" in second.served


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    full = OSError(28, "No space left on device")
    with pytest.raises(StackError, match="No space left on device"):
        _fetch(tmp_path, Central(failing="part-2", error=full))


def test_a_file_changed_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    _fetch(tmp_path, Central())
    changed = tmp_path / JARS[1].file_name
    changed.write_bytes(b"x" * JARS[1].size_bytes)
    second = Central()
    _fetch(tmp_path, second)
    assert second.served == [JARS[1].artifact]
    assert changed.read_bytes() == CONTENTS[JARS[1].artifact]


def test_concurrent_callers_download_once(tmp_path: Path) -> None:
    central = Central()
    callers = [threading.Thread(target=_fetch, args=(tmp_path, central)) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sorted(central.served) == sorted(CONTENTS)


def test_the_committed_list_is_complete_and_names_are_unique() -> None:
    listed = jars.druid_jars()
    assert len(listed) == 207
    assert len({jar.file_name for jar in listed}) == 207
    assert all(len(jar.sha256) == 64 and jar.size_bytes > 0 for jar in listed)
