"""Take the pictures of `how-to/fix-rejected-rows.md`: the workbook in LibreOffice, the commands in a terminal.

Run it in the repository's directory beside a running stack, after the page's first block of commands has loaded
`charter-march.csv`: `.venv/bin/python docs/make_rejected_pictures.py`. Everything in the pictures is real: the commands
are run, and what they write is opened. It needs the programs chromium, soffice, Xvfb, xdotool and ImageMagick's import.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.text import Text

from ingestion_pipeline_tests.entrypoints.browser import browser_page

PICTURES = Path(__file__).parent / "pictures"
FILE = "charter-march"
COMMANDS = (
    f"ingestion-pipeline rejected {FILE}.csv -o {FILE}.xlsx",
    f"ingestion-pipeline rejected {FILE}.csv --fixable -o {FILE}-fixed.csv",
    f"cat {FILE}-fixed.csv",
)
COLUMNS, COLOURS = 150, 64
DISPLAY, SIZE = ":77", (1500, 430)
WRONG_CELL = "850 274"
"""Where the mouse rests, so that the note of a wrong cell is seen."""
SECONDS = 90
# Progress, which a terminal does not show any more at the end.
_ERASED = re.compile(r".*\x1b\[(?:2K|1A)", re.DOTALL)
# No tip of the day, nothing about what is new.
_PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry">
<item oor:path="/org.openoffice.Office.Common/Misc">
<prop oor:name="ShowTipOfTheDay" oor:op="fuse"><value>false</value></prop></item>
<item oor:path="/org.openoffice.Setup/Product">
<prop oor:name="ooSetupLastVersion" oor:op="fuse"><value>{version}</value></prop></item>
</oor:items>
"""


def terminal(directory: Path) -> None:
    """Run the commands, and take what a terminal shows of them."""
    page = Console(record=True, width=COLUMNS, file=(directory / "shown.txt").open("w"), force_terminal=True)
    for command in COMMANDS:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=directory,
            env=os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(COLUMNS)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        page.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        page.print(Text.from_ansi(_ERASED.sub("", done.stdout)))
    with browser_page(width=1500) as tab:
        tab.set_content(f"<body style='margin:0'>{page.export_svg(title='')}</body>", wait_until="domcontentloaded")
        tab.locator("svg").first.screenshot(path=directory / "terminal.png")
    keep(directory / "terminal.png", "rejected-terminal")


def workbook(directory: Path) -> None:
    """Open the workbook as a person does."""
    profile = directory / "profile"
    (profile / "user").mkdir(parents=True)
    version = subprocess.run(["soffice", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    (profile / "user" / "registrymodifications.xcu").write_text(_PROFILE.format(version=version[:3]))
    width, height = map(str, SIZE)
    office = ["soffice", f"-env:UserInstallation={profile.as_uri()}", "--norestore", "--nologo", f"{FILE}.xlsx"]
    with (
        running(["Xvfb", DISPLAY, "-screen", "0", f"{width}x{height}x24"], directory),
        running(office, directory),
    ):
        window = tool("search", "--sync", "--onlyvisible", "--name", FILE).split()[0]
        tool("windowmove", window, "0", "0", "windowsize", window, width, height)
        time.sleep(4)  # until it has drawn itself anew
        tool("mousemove", *WRONG_CELL.split())
        time.sleep(2)  # until the note is there
        subprocess.run(["import", "-display", DISPLAY, "-window", "root", "workbook.png"], cwd=directory, check=True)
    keep(directory / "workbook.png", "rejected-workbook")


def tool(*words: str) -> str:
    """What xdotool says."""
    done = subprocess.run(
        ["xdotool", *words],
        env=os.environ | {"DISPLAY": DISPLAY},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    return done.stdout


@contextmanager
def running(command: list[str], directory: Path) -> Iterator[None]:
    """A program in a group of its own, ended with all that it started."""
    with (directory / f"{command[0]}.log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=os.environ | {"DISPLAY": DISPLAY, "HOME": str(directory)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        time.sleep(1)
        try:
            yield
        finally:
            os.killpg(process.pid, 15)
            process.wait(SECONDS)


def keep(taken: Path, name: str) -> None:
    Image.open(taken).convert("RGB").quantize(COLOURS).save(PICTURES / f"{name}.png", optimize=True)


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        terminal(Path(scratch))
        workbook(Path(scratch))
    return 0


if __name__ == "__main__":
    sys.exit(main())
