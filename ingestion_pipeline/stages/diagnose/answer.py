"""The answer to 'why is it not loaded?', and the words that several answers share."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ingestion_pipeline.domain.job import Job
from ingestion_pipeline.domain.orders import short

START_DRUID = (
    "Start what is missing: `ingestion-pipeline status` shows Druid's services, `ingestion-pipeline up` starts them."
)
_COMMAND = re.compile(r"`(ingestion-pipeline [^`]+)`")


class Standing(StrEnum):
    FINE = "fine"  # its rows are in Druid and counted, or nothing of it is to be there
    ON_ITS_WAY = "on_its_way"  # the system goes on by itself
    NEEDS_A_PERSON = "needs_a_person"  # it stays as it is until somebody does something


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Why a file is where it is.

    Attributes:
        cause: For machines; a waiting state, an outcome, or an error's code. It keeps its meaning.
        told: The cause in plain words.
        next_step: What the reader does now, commands in backticks.
    """

    cause: str
    standing: Standing
    told: str
    next_step: str

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands of the next step, ready to be typed."""
        return commands_in(self.next_step)


def commands_in(text: str) -> tuple[str, ...]:
    """What stands in a text as a command of ours."""
    return tuple(_COMMAND.findall(text))


def fine(cause: str, told: str, next_step: str) -> Answer:
    return Answer(cause=cause, standing=Standing.FINE, told=told, next_step=next_step)


def on_its_way(cause: str, told: str, next_step: str) -> Answer:
    return Answer(cause=cause, standing=Standing.ON_ITS_WAY, told=told, next_step=next_step)


def needs_a_person(cause: str, told: str, next_step: str) -> Answer:
    return Answer(cause=cause, standing=Standing.NEEDS_A_PERSON, told=told, next_step=next_step)


def command(words: str, job: Job | str) -> str:
    """One of our commands about a job, in backticks."""
    return f"`ingestion-pipeline {words} {short(job)}`"


def at(moment: datetime) -> str:
    """A time to the second, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def seconds_since(moment: datetime, now: datetime) -> int:
    return max(0, int((now - moment).total_seconds()))


def ago(moment: datetime, now: datetime) -> str:
    """How long ago, in the largest unit that says something."""
    seconds = seconds_since(moment, now)
    for size, unit in ((86_400, "days"), (3_600, "hours"), (120, "minutes")):
        if seconds >= 2 * size or (unit == "minutes" and seconds >= size):
            return f"{seconds // (60 if unit == 'minutes' else size)} {unit} ago"
    return f"{seconds} s ago"


def sentence(text: str) -> str:
    """The text with a full stop, if it has no end of its own."""
    text = text.strip()
    return text if not text or text[-1] in ".!?…" else f"{text}."


def rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
