"""The JSON schema of a contract's YAML, for editors: they complete its keys, explain them, and mark mistakes.

What belongs here: what each key means, in a sentence, and the shapes of the checks. What does not: which keys there are
(`contract_document`, from which the schema is made), rules between keys (a schema cannot say them: `contract check`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ingestion_pipeline.domain.contract_checks import ALIASES, CHECKS, ArgumentKind, CheckForm
from ingestion_pipeline.domain.contract_document import ContractDocument

DIALECT = "https://json-schema.org/draft/2020-12/schema"

# By the path of the key; a field's own `description` counts as well. A test tells the keys that have neither.
DESCRIPTIONS: Mapping[str, str] = {
    "datasource": "Name in Druid and of the Dagster asset; also the name of this file.",
    "description": "For people: what one row is.",
    "owners": "Who answers questions about the data: e-mail addresses, or teams as in team:sales.",
    "tags": "For people: words and their values.",
    "files": "Which objects of the bucket belong to the datasource, besides uploads.",
    "files.pattern": "The object's key: * within one segment, ** anything, {date}, {organization} and other names.",
    "files.organization": "Whose files these are, where the pattern has no {organization}.",
    "live_from": "Objects last modified earlier are history. Without it: when the contract was first seen.",
    "history": "What becomes of older objects: wait for a backfill, or load them by themselves (auto).",
    "expect": "Which files are to come when; what does not is told as late, then as missing.",
    "expect.every": "hour, day, weekday (Monday to Friday), or a cron line whose moments are the due ones.",
    "expect.by": "When they are due: 07:00, 07:00 next day, 07:00 +2 days; of an hour :15. Without it: at its end.",
    "expect.zone": "Time zone of that clock, as in Europe/Berlin.",
    "expect.files": "How many at least.",
    "expect.grace": "How long late files are not missing yet, as in 30m, 2h or 1d; otherwise until the next are due.",
    "expect.smaller_than_usual": "Tell periods with less than this fraction of the usual rows or bytes, as in 0.5.",
    "expect.organizations": "Each of them is to send its own. Without it, one file of anybody is enough.",
    "priority": "Of files for which nobody says another: urgent, high, medium or low. History is low.",
    "backfill": "How history is loaded by a backfill.",
    "backfill.days_per_run": "Partition days that one run loads together: more for days of few small files.",
    "duplicates": "What becomes of a file whose very bytes were loaded from another key: load or skip.",
    "partition_start": "The first partition day; a day before it counts as the day of the upload.",
    "columns": "The columns of the datasource by their names in Druid.",
    "columns.type": "What a cell has to be.",
    "columns.source": "The name in the file, where it is another: of a header, or JSON keys with dots between them.",
    "columns.required": "A file has to have the column; otherwise an absent one is all null.",
    "columns.nullable": "A row may leave it empty.",
    "columns.format": "How a date or datetime is written: strftime, epoch_s or epoch_ms. Without it: ISO 8601.",
    "columns.timezone": "Zone of datetimes that name none, as in Europe/Paris.",
    "columns.precision": "Of a decimal: digits in all.",
    "columns.scale": "Of a decimal: digits after the point.",
    "columns.checks": "Pandera's checks by name. Null passes every check.",
    "columns.description": "For people: what the column means, and its unit.",
    "columns.aliases": "Further names that it may have in the file.",
    "columns.expr": "SQL over other columns that it is computed by; it is not read from the file then.",
    "columns.decimal": "Of numbers: the mark before the fraction.",
    "columns.thousands": "Of numbers: the mark between groups of three digits.",
    "columns.null_values": "Words that mean null, besides those of the whole file.",
    "columns.true_values": "Of a boolean: the words for true.",
    "columns.false_values": "Of a boolean: the words for false.",
    "checks": "Rules between the columns of a row.",
    "checks.name": "What rejected rows are told to have broken.",
    "checks.expr": "An SQL condition over the columns; a row passes where it is true or null.",
    "checks.description": "For the owner of a rejected row.",
    "filter": "An SQL condition over the columns; rows where it is false are left out and counted as filtered.",
    "module": "A Python module beside this file that brings further checks, and a transform.",
    "unknown_columns": "What becomes of columns of the file that the contract does not name.",
    "rescued_column": "Where unknown columns are kept as JSON, with unknown_columns: rescue.",
    "unique": "Columns whose values together may occur once in a file.",
    "time": "Which column is the time of a row.",
    "time.column": "The date or datetime that becomes Druid's __time.",
    "time.min": "Earlier rows are rejected.",
    "time.max": "Rows of this moment and later are rejected.",
    "time.keep": "Keep the column under its own name as well.",
    "druid": "How Druid lays the rows out.",
    "druid.segment_granularity": "How much time a segment holds: day from about 100,000 rows a day. Choose it once.",
    "druid.compaction": "Whether Druid merges small segments by itself: auto, or off, which leaves its settings alone.",
    "druid.skip_newest": "So much time before the newest row is not compacted, in days or hours: 1d, 12h.",
    "after_load": "What becomes of an upload once its rows are proved to be in Druid.",
    "after_load.action": "Leave it where it is, tag it as loaded, move it below loaded/, or delete it.",
    "after_load.minimum_age": "How long after the load, at least, in days or hours: 1d, 12h.",
    "after_load.to": "Where it is moved to: loaded/ or a prefix below it.",
    "reject": "How many rejected rows a file may have; with more it fails as a whole.",
    "reject.policy": "Whether a file's good rows are loaded beside rejected ones, or the file fails as a whole.",
    "reject.max_fraction": "Of its rows, from 0 to 1.",
    "reject.max_rows": "Rows.",
    "format": "How files are written, where it is not to be found out.",
    "format.type": "The family of formats, whatever the content looks like.",
    "format.case": "Whether names in the file may differ from the columns' in upper and lower case, and in space.",
    "format.record_path": "Of JSON: the keys that lead to the array of rows, as in data.items.",
    "format.table": "Of several tables in a delimited text, which one is read, counted from 1.",
    "format.delimiter": "Of delimited text: one character between cells.",
    "format.quote": "Of delimited text: one character around cells; null for none.",
    "format.escape": "Of delimited text: one character before a quote or delimiter that belongs to a cell.",
    "format.encoding": "As in cp1252; a byte order mark wins.",
    "format.null_values": "Words that mean null in every column.",
    "format.header": "Of delimited text: the first line names the columns. false: they come in the contract's order.",
}

_VALUE: Mapping[str, Any] = {"type": ["string", "number", "boolean"]}
_KINDS: Mapping[ArgumentKind, Mapping[str, Any]] = {
    "value": _VALUE,
    "values": {"type": "array", "items": _VALUE, "minItems": 1},
    "bool": {"type": "boolean"},
    "text": {"type": "string"},
    "pattern": {"type": "string"},  # Rust's expressions, which editors do not know
    "length": {"type": "integer", "minimum": 0},
}


def contract_schema() -> dict[str, Any]:
    """The schema, with a description for each key (`keys_without_description` is empty in a tested system)."""
    schema = ContractDocument.model_json_schema()
    for path, node in _keys(schema):
        if description := _description(path, node):
            # Beside a reference, a description stands for this use of what is referred to.
            node["description"] = description
        for value in (node, *node.get("anyOf", ())):
            if value.get("format") == "date-time":
                # YAML has moments in other forms too, and days.
                del value["format"]
                value["pattern"] = r"^\d{4}-\d{2}-\d{2}"
        if path == "columns.checks":
            node.pop("additionalProperties", None)
            node |= {"properties": _checks(), "additionalProperties": False}
    schema.pop("description", None)
    return {"$schema": DIALECT, **schema, "title": "Contract of a datasource"}


def keys_without_description() -> list[str]:
    """Keys that an editor could not explain."""
    return [path for path, node in _keys(ContractDocument.model_json_schema()) if not _description(path, node)]


def descriptions_without_key() -> list[str]:
    """Descriptions of keys that are no longer there, or that describe themselves."""
    own = {path for path, node in _keys(ContractDocument.model_json_schema()) if "description" not in node}
    return [path for path in DESCRIPTIONS if path not in own]


def _description(path: str, node: Mapping[str, Any]) -> str | None:
    return node.get("description") or DESCRIPTIONS.get(path)


def _keys(schema: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each key of the document by its dotted path (`columns.type` for the type of any column), with its schema."""
    definitions = schema.get("$defs", {})
    todo: list[tuple[str, Mapping[str, Any]]] = [("", schema)]
    while todo:
        prefix, model = todo.pop(0)
        for name, node in model.get("properties", {}).items():
            path = f"{prefix}{name}"
            yield path, node
            todo.extend((f"{path}.", definitions[found]) for found in _models_in(node))


def _models_in(node: Mapping[str, Any]) -> Iterator[str]:
    """Names of the models that stand in a key: itself, in a list, in a mapping, or one of several."""
    if "$ref" in node:
        yield node["$ref"].rpartition("/")[2]
    inner = [*node.get("anyOf", ()), *node.get("allOf", ()), *node.get("patternProperties", {}).values()]
    inner += [node[key] for key in ("items", "additionalProperties") if isinstance(node.get(key), dict)]
    for child in inner:
        yield from _models_in(child)


def _checks() -> dict[str, Any]:
    named = {name: _check(form) for name, form in CHECKS.items()}
    return named | {long: named[short] | {"description": f"The same as {short}."} for long, short in ALIASES.items()}


def _check(form: CheckForm) -> dict[str, Any]:
    """The arguments as a mapping, or by themselves where the contract allows that."""
    arguments = {name: dict(_KINDS[kind]) for name, kind in form.arguments.items()}
    by_name = {
        "type": "object",
        "properties": arguments,
        "required": sorted(form.needed),
        "minProperties": 1,
        "additionalProperties": False,
    }
    if len(form.positional) == 1:
        alone = arguments[form.positional[0]]
    else:
        count = len(form.positional)
        shapes = [arguments[name] for name in form.positional]
        alone = {"type": "array", "prefixItems": shapes, "minItems": count, "maxItems": count}
    reason = form.reason.replace("{", "").replace("}", "")
    return {"description": f"The value {reason}.", "anyOf": [alone, by_name]}
