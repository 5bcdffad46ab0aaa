"""Every command that README and docs show is run, in the order of its page, beside the session's stack.

A page is one test: its fenced `bash` blocks run in a directory that looks like a fresh clone. Lines that cannot run
inside a test are in NOT_RUN, each with its reason and a check of what can be checked. `up` and `down` have a
stand-in: the session's stack is everybody's, so that new contracts are handed to it instead.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ingestion_pipeline.settings import Settings
from ingestion_pipeline_tests.guarantees.system import FINAL, System

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SECONDS = 300

_BLOCK = re.compile(r"^( *)```bash\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|<img[^>]*src=\"([^\"]+)\"")


def blocks(page: Path) -> list[str]:
    """The page's bash blocks, without the indentation that they have inside lists."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return ["".join(line.removeprefix(indent) for line in text.splitlines(keepends=True)) for indent, text in found]


def make_target(line: str) -> None:
    target = line.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"there is no make target {target}"


def compose_file(line: str) -> None:
    assert (ROOT / "docker-compose.yml").is_file(), line


def nothing(line: str) -> None:
    del line


# Beginning of a line, why it is not run, what is checked instead.
NOT_RUN: tuple[tuple[str, str, Callable[[str], None]], ...] = (
    ("git clone", "the address is the reader's", nothing),
    ("cd ingestion-pipeline", "belongs to git clone", nothing),
    ("make demo", "a stack of its own for minutes; the demo has a test of its own", make_target),
    ("make test", "would start this test again", make_target),
    ("make test-guarantees", "half an hour on a stack of its own", make_target),
    ("make guarantees", "an hour on a stack of its own; its short form is a test", make_target),
    ("make up", "everything runs already", make_target),
    ("ingestion-pipeline up", "everything runs already, with options of the session's own", nothing),
    ("ingestion-pipeline down", "would stop the session's stack", nothing),
    ("docker compose", "needs a container engine; the file has tests of its own", compose_file),
    ("ingestion-pipeline logs dagster-daemon --follow", "goes on until Ctrl-C", nothing),
)


def not_run(line: str) -> list[Callable[[str], None]]:
    """The checks that stand for a line that is not run; empty if it is to be run. Whole words: `up` is not `upload`."""
    words = line.split()
    return [check for beginning, _, check in NOT_RUN if words[: len(beginning.split())] == beginning.split()]


@dataclass(frozen=True)
class Clone:
    """What a reader has after cloning and starting: a directory and a shell beside a running stack."""

    directory: Path
    system: System

    def run(self, script: str) -> None:
        """Run lines in bash, stopping at the first that fails."""
        bin_directory = str(Path(sys.executable).parent)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("INGESTION_", "DAGSTER_"))},
            "PATH": f"{bin_directory}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "160",
        }
        with subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as shell:
            try:
                said, _ = shell.communicate(timeout=SECONDS)
            finally:
                # What it started in the background, too: a receiver that is left would take another run's callbacks.
                with suppress(ProcessLookupError):
                    os.killpg(shell.pid, signal.SIGKILL)
        assert shell.returncode == 0, f"{script}\n-- exit code {shell.returncode}\n{said}"

    def take_contracts(self) -> None:
        """What `down` and `up --contracts-dir contracts` do, on the session's stack."""
        for contract in (self.directory / "contracts").glob("*.yaml"):
            shutil.copy(contract, self.system.contracts)
        self.restart()

    def restart(self) -> None:
        """Code server and daemon: the daemon looks for new jobs once a minute only."""
        self.system.stack.restart("code-server")
        self.system.stack.restart("dagster-daemon")


@pytest.fixture
def clone(system: System, tmp_path: Path) -> Iterator[Clone]:
    for name in ("README.md", "Makefile", "docker-compose.yml", "dagster.yaml", "workspace.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ("ingestion_pipeline", "docs", "deploy"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.png"))
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    (tmp_path / ".ingestion").symlink_to(system.stack.root)
    before = {path.name for path in system.contracts.iterdir()}
    clone = Clone(tmp_path, system)
    yield clone
    new = [path for path in system.contracts.iterdir() if path.name not in before]
    for path in new:
        path.unlink()
    if new:
        clone.restart()


def parts(page: Path) -> Iterator[tuple[str, str]]:
    """The page's commands in order: ("run", lines), ("not_run", line) or ("contracts", line)."""
    for block in blocks(page):
        pending = ""
        for line in block.splitlines(keepends=True):
            command = line.strip()
            if command.startswith("ingestion-pipeline up --contracts-dir contracts"):
                kind = "contracts"
            elif not_run(command):
                kind = "not_run"
            else:
                pending += line
                continue
            if pending.strip():
                yield "run", pending
                pending = ""
            yield kind, command
        if pending.strip():
            yield "run", pending


@pytest.mark.stack
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_work(page: Path, clone: Clone) -> None:
    for kind, text in parts(page):
        if kind == "run":
            clone.run(text)
        elif kind == "contracts":
            clone.take_contracts()
        else:
            for check in not_run(text):
                check(text)
    if page.name == "first-datasource.md":
        everything_of_the_tutorial_was_loaded(clone.system)


def everything_of_the_tutorial_was_loaded(system: System) -> None:
    """The page's last numbers, once the backfill that it launched has ended."""

    def look() -> bool:
        jobs = system.rows("SELECT status FROM ingestion_jobs WHERE datasource = 'orders'")
        return len(jobs) == 4 and all(job["status"] in FINAL for job in jobs)

    system.until("four finished jobs of orders", look, seconds=SECONDS)
    rows = system.rows("SELECT sum(rows_read) AS read, sum(rows_rejected) AS rejected FROM ingestion_jobs "
                       "WHERE datasource = 'orders'")  # fmt: skip
    assert (rows[0]["read"], rows[0]["rejected"]) == (16, 1)
    assert system.counted("orders") == 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_of_a_page_exist(page: Path) -> None:
    targets = [link or image for link, image in _LINK.findall(page.read_text(encoding="utf-8"))]
    missing = [t for t in targets if not t.startswith(("http:", "https:")) and not (page.parent / t).exists()]
    assert not missing


def test_every_page_is_reached_from_the_index() -> None:
    docs = ROOT / "docs"
    index = (docs / "README.md").read_text(encoding="utf-8")
    pages = {str(page.relative_to(docs)) for page in PAGES if page.is_relative_to(docs)}
    # Decisions are listed by their directory.
    assert {page for page in pages - {"README.md"} if f"({page})" not in index and "decisions/" not in page} == set()


def test_the_table_of_settings_has_every_setting_with_its_default() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    table = {
        name.lower(): default.strip() for name, default in re.findall(r"^\| `INGESTION_(\w+)` \| (.*?) \|", page, re.M)
    }
    assert set(table) == set(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        shown = table[name].strip("`")
        if name == "contracts_dir":
            continue  # a path of this machine: told in words
        assert shown == as_shown(field.default), name


def as_shown(default: Any) -> str:
    """A default as the table writes it."""
    if default is None:
        return "none"
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    return f"{default:g}" if isinstance(default, float) else str(default)
