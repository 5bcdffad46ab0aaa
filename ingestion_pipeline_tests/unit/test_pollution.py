"""Files that nobody described are read as they were meant: dialect, header, rows, whatever surrounds them."""

import csv
import io
from collections import Counter, defaultdict

from ingestion_pipeline.errors import UnreadableFile
from ingestion_pipeline.stages.canonical import read_as_text
from ingestion_pipeline_tests.unit.pollution import Written, variants

MACRO_AVERAGE, LEAST = 0.97, 0.90


def f1(found: Counter[object], true: Counter[object]) -> float:
    if not found and not true:
        return 1.0
    common = (found & true).total()
    return 2 * common / (found.total() + true.total())


def judged(written: Written) -> tuple[float, float, float]:
    """F1 over header, records and cells; damaged rows may be left out or not."""
    out = io.BytesIO()
    try:
        report = read_as_text([written.data()], form="csv", out=out)
    except UnreadableFile:
        return 0.0, 0.0, 0.0
    # NULs and the like are the reader's matter; here is what a person's CSV reader sees.
    rows = list(csv.reader(io.StringIO(out.getvalue().decode(), newline="")))
    header = report.format["header"]
    body = [tuple(row) for row in (rows[1:] if header else rows)]
    true = [tuple(row) for number, row in enumerate(written.rows) if number not in written.damage]
    records, expected = Counter(body), Counter(true)
    if written.damage and (extra := records - expected).total() <= len(written.damage):
        records -= extra
    return (
        f1(Counter(header), Counter(written.found_header)),
        f1(records, expected),
        f1(_cells(records), _cells(expected)),
    )


def _cells(records: Counter[tuple[str, ...]]) -> Counter[object]:
    found: Counter[object] = Counter()
    for row, count in records.items():
        for column, cell in enumerate(row):
            found[column, cell] += count
    return found


def test_polluted_files_are_understood_untold(capsys):
    scores = defaultdict(list)
    for kind, written in variants():
        result = judged(written)
        for part in kind.split(" + "):
            scores[part].append(sum(result) / 3)
    averages = {kind: sum(values) / len(values) for kind, values in scores.items()}
    macro = sum(averages.values()) / len(averages)
    with capsys.disabled():
        print(f"\n{'kind':28} {'files':>5}  F1")
        for kind, average in sorted(averages.items(), key=lambda item: item[1]):
            print(f"{kind:28} {len(scores[kind]):5}  {average:.3f}")
        print(f"{'macro-average':28} {sum(map(len, scores.values())):5}  {macro:.3f}")
    assert macro > MACRO_AVERAGE
    assert min(averages.values()) >= LEAST
