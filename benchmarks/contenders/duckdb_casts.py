"""DuckDB: `read_csv` with the contract's types, rows that cannot be cast set aside, to zstd CSV, S3 to S3.

It casts and cuts; ranges, patterns, uniqueness and rules between columns are not asked of it. The extension for S3
comes as a package of DuckDB's version: nothing is downloaded at run time.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.contenders.task import Task, perform

TYPES = {
    **dict.fromkeys(("carrier", "tailnum", "origin", "dest"), "VARCHAR"),
    "time_hour": "TIMESTAMP",
}
_HEADER = (
    "year month day dep_time sched_dep_time dep_delay arr_time sched_arr_time arr_delay carrier flight tailnum origin "
    "dest air_time distance hour minute time_hour"
)
COLUMNS = _HEADER.split()


def prepare(task: Task) -> Callable[[], dict[str, Any]]:
    import duckdb
    import duckdb_extension_httpfs

    database = duckdb.connect()
    package = Path(duckdb_extension_httpfs.__file__).parent
    database.load_extension(str(next(package.rglob("httpfs.duckdb_extension"))))
    database.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{task.access_key}', SECRET '{task.secret_key}', REGION '{task.region}', "
        f"ENDPOINT '{urlsplit(task.endpoint).netloc}', URL_STYLE 'path', USE_SSL false)"
    )
    # As much memory as a run of the pipeline may take.
    database.execute("SET memory_limit = '500MB'; SET preserve_insertion_order = false")
    columns = ", ".join(f"'{name}': '{TYPES.get(name, 'BIGINT')}'" for name in COLUMNS)

    def work() -> dict[str, Any]:
        written = database.execute(
            f"COPY (SELECT * FROM read_csv('s3://{task.bucket}/{task.source}', header = true, nullstr = 'NA', "
            f"columns = {{{columns}}}, store_rejects = true, rejects_limit = 0)) "
            f"TO 's3://{task.bucket}/{task.target}/rows.csv.zst' (FORMAT csv, COMPRESSION zstd)"
        ).fetchall()
        rejected = database.execute("SELECT count(DISTINCT line) FROM reject_errors").fetchall()
        return {"rows_out": written[0][0], "bad_rows": rejected[0][0], "version": duckdb.__version__}

    return work


if __name__ == "__main__":
    perform(prepare)
