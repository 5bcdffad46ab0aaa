"""JSON whose columns are not all told: they are the keys that occur anywhere in it, found by reading it once before.

What belongs here: opening JSON with a contract's columns, with those that it has itself, or with both. What does not:
reading (`json_reader`).
"""

from collections.abc import Iterable, Sequence

from ingestion_pipeline.domain.contract import FileFormat
from ingestion_pipeline.domain.contract_names import ColumnNames
from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.formats.base import FormatFacts
from ingestion_pipeline.formats.columns import text_columns, with_added
from ingestion_pipeline.formats.json_head import JsonKind
from ingestion_pipeline.formats.json_reader import JsonReader
from ingestion_pipeline.formats.records import MAX_CELLS
from ingestion_pipeline.formats.spool import Spool


def open_json(
    stream: Iterable[bytes],
    *,
    kind: JsonKind,
    options: FileFormat,
    names: ColumnNames | None,
    facts: FormatFacts,
    chunk_bytes: int,
) -> JsonReader:
    """Open JSON.

    Args:
        names: None: every key is a column of text. The last row may bring a new one, so all are read here once,
            and kept in a temporary file meanwhile; likewise where unknown keys are added to the contract's.

    Raises:
        UnreadableFile: It is damaged, has no required column, or more keys than a table has columns.
    """
    if names is not None and names.unknown != "add":
        return JsonReader(stream, kind=kind, options=options, names=names, facts=facts, chunk_bytes=chunk_bytes)
    spool = Spool(stream)
    keys = spool.first(lambda kept: _keys(kept, kind, options, chunk_bytes))
    return JsonReader(
        spool.again(),
        kind=kind,
        options=options,
        names=ColumnNames(text_columns(keys), "exact") if names is None else with_added(keys, names, facts),
        facts=facts,
        chunk_bytes=chunk_bytes,
        literal_keys=names is None,
    )


def _keys(stream: Iterable[bytes], kind: JsonKind, options: FileFormat, chunk_bytes: int) -> Sequence[str]:
    reader = JsonReader(
        stream,
        kind=kind,
        options=options,
        names=ColumnNames((), "exact"),
        facts=FormatFacts(format="JSON"),
        chunk_bytes=chunk_bytes,
        literal_keys=True,
    )
    rows = sum(len(chunk.lines) for chunk in reader.chunks())
    keys, more = reader.keys
    if rows and not keys:
        raise UnreadableFile("Its objects are empty: there is no key in any of them.", hint="Upload objects with keys.")
    if more:
        raise UnreadableFile(
            f"Its objects have more than {MAX_CELLS:,} different keys.",
            hint="If keys are values (ids, dates), write them as values; a contract can name the keys to read.",
        )
    return keys
