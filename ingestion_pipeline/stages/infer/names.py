"""Names for people and Druid: a file's headers as snake_case, a file's name as a datasource's.

What belongs here: turning texts into names. What does not: what a column of some name holds (`readings`, `rules`).
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from ingestion_pipeline.formats.columns import names_without_contract

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_MAX_CHARACTERS = 100  # a contract's names have 120; a number may follow
# Parts of a file's name that tell the one file from the others: days, times, numbers.
_OF_ONE_FILE = re.compile(r"^\d+[a-z]?$|^q[1-4]$|^v\d+$|^part$", re.IGNORECASE)


def snake_case(text: str) -> str:
    """`Order No.`, `OrderNo` and `order-no` as `order_no`; empty if the text has no letter or digit of ASCII."""
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode()
    parts = re.split(r"[^A-Za-z0-9]+", plain)
    words = [part.lower() if part.islower() or part.isupper() else _of_camel_case(part) for part in parts if part]
    return "_".join(words)[:_MAX_CHARACTERS].strip("_")


def column_names(sources: Sequence[str]) -> list[str]:
    """One name per header, all different; a name that is one already stays as it is."""
    return names_without_contract([_column_name(source) for source in sources], len(sources))


def datasource_name(stem: str) -> str:
    """A datasource's name by the name of one of its files: `flights-2013-01` as `flights`."""
    parts = [part for part in snake_case(stem).split("_") if part and not _OF_ONE_FILE.match(part)]
    name = "_".join(parts)[:80].strip("_")
    return name if name[:1].isalpha() else f"data_{name}".strip("_")


def singular(name: str) -> str:
    """`orders` as `order`; good enough to find `order_id` in them."""
    return re.sub(r"ies$", "y", name) if name.endswith("ies") else name.removesuffix("s")


def listed(names: Iterable[object]) -> str:
    """`a, b, c` in one line of a comment, not too many."""
    shown = [" ".join(str(name).split()) for name in names]
    return ", ".join(shown[:10]) + (f" and {len(shown) - 10} more" if len(shown) > 10 else "")


def _of_camel_case(part: str) -> str:
    return "_".join(word.lower() for word in _WORDS.findall(part))


def _column_name(source: str) -> str:
    if re.fullmatch(r"[a-z](?:_?[a-z0-9]+)*_?", source) and len(source) <= _MAX_CHARACTERS:
        return source
    name = snake_case(source)
    return f"n_{name}" if name[:1].isdigit() else name
