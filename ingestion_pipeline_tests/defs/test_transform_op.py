"""The op `transform`: files of one batch have one encoding in the end, whatever each was written in."""

import json
from typing import Any

import dagster as dg
import pytest

from ingestion_pipeline.defs.assets import day_partitions
from ingestion_pipeline.defs.transform_op import transform
from ingestion_pipeline.defs.validate_op import validate
from ingestion_pipeline.domain.job import Job
from ingestion_pipeline.stages.transform import ndjson_of
from ingestion_pipeline_tests.defs.conftest import Site
from ingestion_pipeline_tests.defs.test_validate_op import executed

WORDS = """
datasource: {name}
partition_start: 2020-01-01
time: {{column: at}}
columns:
  at: {{type: datetime}}
  word: {{type: string, nullable: true}}
  x: {{type: float, nullable: true}}
"""
PLAIN = b"at,word,x\n2026-03-01T00:00:00Z,plain,0.1\n2026-03-01T01:00:00Z,,1e300\n"
BROKEN_LINE = b'at,word,x\n2026-03-01T00:00:00Z,"two\nlines",\n'


def cleaned(site: Site, *files: bytes, contract: str = WORDS) -> list[Job]:
    """The jobs of one batch after its `transform`."""
    site.contract(text=contract)
    site.reload()
    keys = [site.put(f"{position}.csv", data) for position, data in enumerate(files)]

    @dg.graph_asset(name=site.name, partitions_def=day_partitions(site.contracts.book().contracts[site.name]))
    def asset() -> Any:
        return transform(validate())

    (request,) = site.tick().run_requests
    assert executed(site, request, asset).success
    ids = [str(site.row_of(key)["job_id"]) for key in keys]
    return sorted(site.ledger.jobs.rows_of(ids), key=lambda job: ids.index(job.job_id))


def lines(site: Site, job: Job) -> list[str]:
    assert job.staged is not None
    assert job.staged.cleaned_key is not None
    data = site.bucket.get(job.staged.cleaned_key)
    contract = site.contracts.book().contracts[site.name]
    return (
        b"".join(ndjson_of([data], "ndjson" if ".ndjson." in job.staged.cleaned_key else "csv", contract))
        .decode()
        .splitlines()
    )


def expected(job: Job, time: int, word: str, x: str) -> str:
    return f'{{"__time":{time},"word":{word},"x":{x},"__job_id":"{job.job_id}","__organization":"{job.organization}"}}'


def test_an_object_of_the_batchs_encoding_is_taken_as_it_is(site: Site) -> None:
    (job,) = cleaned(site, PLAIN)
    assert job.staged is not None
    assert job.staged.parts == (job.staged.cleaned_key,)
    assert job.staged.parts[0].endswith("/e1/rows.csv.zst")
    assert job.staged.cleaned_bytes == len(site.bucket.get(job.staged.parts[0]))


@pytest.mark.parametrize("files", [(PLAIN, BROKEN_LINE), (PLAIN, PLAIN + b'2026-03-01T02:00:00Z,"",\n')])
def test_a_batch_with_one_file_that_csv_cannot_carry_is_ndjson_and_no_other_object_is_left(
    site: Site, files: tuple[bytes, bytes]
) -> None:
    jobs = cleaned(site, *files)
    for job in jobs:
        assert job.staged is not None
        assert job.staged.cleaned_key is not None
        assert job.staged.parts == (job.staged.cleaned_key,)
        assert job.staged.cleaned_key.endswith(".ndjson.zst")
        assert job.staged.cleaned_bytes == len(site.bucket.get(job.staged.cleaned_key))
        prefix = f"cleaned/{job.organization}/{job.datasource}/{job.job_id}/"
        assert [stored.key for stored in site.bucket.list_page(prefix=prefix)] == [job.staged.cleaned_key]
    assert lines(site, jobs[0]) == [
        expected(jobs[0], 1772323200000, '"plain"', "0.1"),
        expected(jobs[0], 1772326800000, "null", "1e+300"),
    ]


def test_columns_that_a_file_adds_are_in_its_rows_and_make_its_batch_ndjson(site: Site) -> None:
    wide = b"at,Colour,word,size,x\n2026-03-01T00:00:00Z,007,a,,1\n"
    plain, added = cleaned(site, PLAIN, wide, contract=f"{WORDS}unknown_columns: add\n")
    assert added.staged is not None
    assert added.staged.added_columns == ("Colour", "size")
    assert added.result["added_columns"] == ["Colour", "size"]
    (line,) = map(json.loads, lines(site, added))
    assert (line["word"], line["Colour"], line["size"]) == ("a", "007", None)
    assert "Colour" not in json.loads(lines(site, plain)[0])
