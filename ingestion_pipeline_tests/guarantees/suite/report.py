"""What a performance came to, for people and as JSON."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ingestion_pipeline_tests.guarantees.suite.play import Outcome
from ingestion_pipeline_tests.guarantees.suite.strikes import Hit

_SHOWN = 15


def lines(outcome: Outcome) -> Iterator[str]:
    """Tables and totals."""
    yield ""
    yield "What was hit, and how long until work went on (seconds)"
    yield from _table(
        ("at", "blow", "target", "for", "answered again after", "next job completed after", ""),
        [_hit_cells(outcome, hit) for hit in outcome.hits],
    )
    unordered = Counter(restart.service for restart in outcome.restarts if not restart.ordered)
    if unordered:
        told = ", ".join(f"{service} {times} x" for service, times in sorted(unordered.items()))
        yield f"Ended by themselves and were started again: {told}"
    if outcome.start_failures:
        yield f"Starts that failed and were repeated: {len(outcome.start_failures)}; first {outcome.start_failures[0]}"
    yield ""
    yield "Rows, compared whole"
    yield from _table(
        ("datasource", "expected", "found", "lost", "duplicated", "wrong"),
        [
            (name, str(v.expected), str(v.found), str(v.lost), str(v.duplicated), str(v.wrong))
            for name, v in outcome.rows.items()
        ],
    )
    yield ""
    yield "Jobs: " + ", ".join(f"{count} {name}" for name, count in outcome.jobs.outcomes.most_common())
    for what, found in _violations(outcome).items():
        if found:
            yield f"{what}: {len(found)}"
            yield from (f"  {one}" for one in found[:_SHOWN])
    yield ""
    yield f"{outcome.play_seconds:.0f} s of play, {outcome.settle_seconds:.0f} s until everything was final"
    yield "  ".join(f"{name} {number}" for name, number in totals(outcome).items())
    yield "Every guarantee held." if outcome.is_clean else "A GUARANTEE DID NOT HOLD."


def totals(outcome: Outcome) -> dict[str, int]:
    """The numbers that must be zero, and the one that is not the pipeline's."""
    return {
        "lost": outcome.lost,
        "duplicated": sum(verdict.duplicated for verdict in outcome.rows.values()),
        "wrong": sum(verdict.wrong for verdict in outcome.rows.values()),
        "stuck": len(outcome.jobs.stuck),
        "failed": len(outcome.jobs.failed),
        "untrue": len(outcome.jobs.untrue),
        "runs left": len(outcome.runs_left),
        "not done": len(outcome.undone),
        "lost by S3": len(outcome.jobs.lost_by_s3) + len(outcome.puts_lost_by_s3),
    }


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Everything, ready for JSON."""
    return {
        "seed": outcome.schedule.seed,
        "holds": outcome.is_clean,
        "files": len(outcome.schedule.items),
        "strikes": len(outcome.schedule.strikes),
        "hits": sum(hit.at is not None for hit in outcome.hits),
        "totals": totals(outcome),
        "play_seconds": round(outcome.play_seconds, 1),
        "settle_seconds": round(outcome.settle_seconds, 1),
        "rows": {
            name: {
                "expected": v.expected,
                "found": v.found,
                "lost": v.lost,
                "duplicated": v.duplicated,
                "wrong": v.wrong,
                "examples": v.examples,
            }
            for name, v in outcome.rows.items()
        },
        "outcomes": dict(outcome.jobs.outcomes),
        "violations": _violations(outcome),
        "hit": [
            {
                "at": _rounded(hit.at),
                "blow": hit.strike.blow,
                "target": hit.strike.target,
                "seconds": hit.strike.seconds,
                "pids": list(hit.pids),
                "ready_after": _rounded(hit.ready_after),
                "next_completed_after": _rounded(_next_completed(outcome, hit)),
                "note": hit.note,
            }
            for hit in outcome.hits
        ],
        "ended_by_themselves": [
            {"at": _rounded(restart.at), "service": restart.service}
            for restart in outcome.restarts
            if not restart.ordered
        ],
        "start_failures": outcome.start_failures,
    }


def _violations(outcome: Outcome) -> dict[str, list[str]]:
    return {
        "rows": [f"{name}: {one}" for name, v in outcome.rows.items() for one in v.examples],
        "stuck": outcome.jobs.stuck,
        "failed though the file is good": outcome.jobs.failed,
        "untrue in the ledger": outcome.jobs.untrue,
        "runs that are not over": outcome.runs_left,
        "deeds that could never be done": [
            f"#{action.item:04} {action.deed}, when {action.when}, at {action.at} s" for action in outcome.undone
        ],
        "services that do not answer": outcome.not_ready,
        "errors of the suite itself": outcome.suite_errors,
        "lost by the S3 server (not counted)": [*outcome.puts_lost_by_s3, *outcome.jobs.lost_by_s3],
    }


def _hit_cells(outcome: Outcome, hit: Hit) -> Sequence[str]:
    strike = hit.strike
    lasted = strike.seconds if hit.until is None or hit.at is None else hit.until - hit.at
    return (
        "-" if hit.at is None else f"{hit.at:.1f}",
        strike.blow,
        strike.target,
        f"{lasted:.1f}" if hit.at is not None and strike.blow != "arm_kill" else "",
        "" if hit.ready_after is None else f"{hit.ready_after:.1f}",
        "" if (after := _next_completed(outcome, hit)) is None else f"{after:.1f}",
        hit.note,
    )


def _next_completed(outcome: Outcome, hit: Hit) -> float | None:
    return None if hit.at is None else outcome.next_completed_after(hit.at)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
