"""What a run shows on its Dagster page, and each materialisation on its asset's: numbers to plot, tables to read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from ingestion_pipeline.adapters.postgres_jobs import DayTotals
from ingestion_pipeline.domain.job import Job, Status
from ingestion_pipeline.domain.orders import short

FILES_SHOWN = 50
RULES_SHOWN = 50


def run_metadata(
    jobs: Sequence[Job], *, totals: DayTotals, task_ids: Sequence[str], notes: Sequence[str], bucket: str
) -> dict[str, Any]:
    """Rows, bytes, seconds, rejects, files, preview, schema, links and the day's totals.

    Args:
        jobs: Every job of the run that is of the partition day, as it ended.
        totals: The partition day in the ledger, other runs' files included.
    """
    read = sum(job.rows_read for job in jobs)
    rejected = sum(job.rows_rejected for job in jobs)
    seconds = max((float(job.result.get("processing_seconds") or 0) for job in jobs), default=0.0)
    metadata: dict[str, Any] = {
        "files": len(jobs),
        "rows_read": read,
        "rows_accepted": sum(job.rows_accepted for job in jobs),
        "rows_rejected": rejected,
        "rows_filtered": sum(job.rows_filtered for job in jobs),
        "rows_queryable": sum(job.rows_queryable for job in jobs),
        "rejected_fraction": round(rejected / read, 6) if read else 0.0,
        "bytes": sum(job.size_bytes for job in jobs),
        "seconds": seconds,
        "job_ids": dg.MetadataValue.json([job.job_id for job in jobs][:1000]),
        "druid_task_ids": dg.MetadataValue.text(", ".join(task_ids) or "none"),
        "day_files": totals.files,
        "day_files_failed": totals.failed,
        "day_files_waiting": totals.waiting,
        "day_rows_queryable": totals.rows_queryable,
        "day_rows_rejected": totals.rows_rejected,
        "dagster/row_count": totals.rows_queryable,
    }
    if jobs:
        metadata["file_table"] = dg.MetadataValue.md(_files_table(jobs))
    if asked := why_commands(jobs):
        metadata["why"] = asked
    if quarantined := [job for job in jobs if job.rows_rejected]:
        metadata["quarantine"] = dg.MetadataValue.md(
            "\n".join(f"- `s3://{bucket}/quarantine/{_place(job)}/`" for job in quarantined[:FILES_SHOWN])
        )
    if counts := rule_counts(jobs):
        metadata["rejected_by_rule"] = rules_table(counts)
    shown = next((job for job in jobs if (job.result.get("preview") or {}).get("rows")), None)
    if shown is not None:
        preview = shown.result["preview"]
        metadata["preview"] = dg.MetadataValue.md(
            markdown_table([dict(zip(preview["columns"], row, strict=True)) for row in preview["rows"]])
        )
        metadata["dagster/column_schema"] = dg.TableSchema(
            columns=[dg.TableColumn(name=name, type=str(dtype)) for name, dtype in shown.result["schema"]]
        )
    if notes:
        metadata["notes"] = "\n".join(notes)
    return metadata


def why_commands(jobs: Sequence[Job]) -> dg.MarkdownMetadataValue | None:
    """The command that tells why, for each file of the run that has failed, was canceled or waits; None for none."""
    unloaded = [job for job in jobs if job.status is not Status.COMPLETED]
    if not unloaded:
        return None
    lines = [f"- `ingestion-pipeline why {short(job)}` {_cell(job.file_name)}" for job in unloaded[:FILES_SHOWN]]
    more = [f"- … and {len(unloaded) - FILES_SHOWN} more"] if len(unloaded) > FILES_SHOWN else []
    return dg.MetadataValue.md("\n".join([*lines, *more]))


def rule_counts(jobs: Sequence[Job]) -> Counter[tuple[str, str]]:
    """How many rows of the jobs break which rule: (column, rule) to rows. A row may break several."""
    counts: Counter[tuple[str, str]] = Counter()
    for job in jobs:
        for count in job.result.get("rule_counts") or ():
            counts[count["column"], count["rule"]] += count["count"]
    return counts


def rules_table(counts: Counter[tuple[str, str]]) -> dg.MarkdownMetadataValue:
    """The rules that are broken most, with their columns."""
    rows = [
        {"column": column or "(the whole row)", "rule": rule, "rows": f"{count:,}"}
        for (column, rule), count in counts.most_common(RULES_SHOWN)
    ]
    more = f"\n\n… and {len(counts) - RULES_SHOWN} more" if len(counts) > RULES_SHOWN else ""
    return dg.MetadataValue.md(markdown_table(rows) + more)


def _place(job: Job) -> str:
    return f"{job.organization}/{job.datasource}/{job.job_id}"


def _files_table(jobs: Sequence[Job]) -> str:
    rows = [
        {
            "file": job.file_name,
            "organization": job.organization,
            "job": job.job_id[:8],
            "status": job.status.value,
            "outcome": job.outcome or "",
            "read": f"{job.rows_read:,}",
            "accepted": f"{job.rows_accepted:,}",
            "rejected": f"{job.rows_rejected:,}",
            "filtered": f"{job.rows_filtered:,}",
            "in Druid": f"{job.rows_queryable:,}",
            "error": job.error_message or "",
        }
        for job in jobs[:FILES_SHOWN]
    ]
    more = f"\n\n… and {len(jobs) - FILES_SHOWN} more" if len(jobs) > FILES_SHOWN else ""
    return markdown_table(rows) + more


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table. Cells come from customers' files: nothing in them may act as Markdown or HTML."""
    if not rows:
        return ""
    names = list(rows[0])
    lines = ["| " + " | ".join(_cell(name) for name in names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def inline_code(text: str) -> str:
    """Text as code inside a line; none of it acts as Markdown."""
    return "`" + " ".join(text.split()).replace("`", "'") + "`"


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = str(value)[:200]
    for character, harmless in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;"), ("`", "&#96;")):
        text = text.replace(character, harmless)
    for character in "*_[]!\\~":
        text = text.replace(character, f"&#{ord(character)};")
    return " ".join(text.split())
