"""Dagster's backfills, spoken to as its pages do: GraphQL over HTTP, for programs that are no part of Dagster.

What belongs here: launching, reading and canceling asset backfills. What does not: which days are worth one
(`domain.backfill`), what it did in the ledger (`adapters.postgres_backfills`).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import requests

from ingestion_pipeline.domain.backfill import Backfill, BackfillStatus
from ingestion_pipeline.errors import ConfigurationError, DagsterUnavailable

TIMEOUT_SECONDS = 60.0

_FIELDS = """
  id status timestamp endTimestamp isAssetBackfill numPartitions
  assetSelection { path }
  error { message }
  assetBackfillData {
    rootTargetedPartitions { ranges { start end } partitionKeys }
    assetBackfillStatuses { ... on AssetPartitionsStatusCounts {
      numPartitionsTargeted numPartitionsInProgress numPartitionsMaterialized numPartitionsFailed } }
  }
"""
_GET = f"""query($id: String!) {{ partitionBackfillOrError(backfillId: $id) {{ __typename
  ... on PartitionBackfill {{ {_FIELDS} }} ... on PythonError {{ message }} }} }}"""
_LIST = f"""query($limit: Int!) {{ partitionBackfillsOrError(limit: $limit) {{ __typename
  ... on PartitionBackfills {{ results {{ {_FIELDS} }} }} ... on PythonError {{ message }} }} }}"""
_LAUNCH = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  ... on UnauthorizedError { message } ... on PartitionKeysNotFoundError { message } } }"""
_CANCEL = """mutation($id: String!) { cancelPartitionBackfill(backfillId: $id) { __typename
  ... on PythonError { message } ... on UnauthorizedError { message } } }"""


class DagsterBackfills:
    """Backfills of a Dagster webserver; not for several threads at once.

    Args:
        url: Its base URL.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._session = requests.Session()
        # Dagster's webserver (uvicorn) closes a connection that was idle for five seconds: a question that is sent at
        # that moment gets a reset, and a launch whose answer is lost cannot be asked again.
        self._session.headers["Connection"] = "close"

    def close(self) -> None:
        self._session.close()

    def page(self, backfill_id: str) -> str:
        """Where people see it."""
        return f"{self._url}/runs/b/{backfill_id}"

    def launch(self, datasource: str, days: Iterable[date], *, title: str) -> str:
        """Start a backfill of these partition days; its id."""
        parameters = {
            "assetSelection": [{"path": [datasource]}],
            "partitionNames": [day.isoformat() for day in days],
            "title": title,
        }
        answer = self._ask(_LAUNCH, p=parameters)["launchPartitionBackfill"]
        if answer["__typename"] != "LaunchBackfillSuccess":
            raise ConfigurationError(
                f"Dagster did not start the backfill of {datasource}: {_said(answer)}",
                hint="Its page Deployment says whether it has loaded the datasource's present contract.",
            )
        return str(answer["backfillId"])

    def get(self, backfill_id: str) -> Backfill:
        """One backfill.

        Raises:
            ConfigurationError: Dagster knows none of that id, or it is not of a datasource.
        """
        answer = self._ask(_GET, id=backfill_id)["partitionBackfillOrError"]
        found = _backfill(answer) if answer["__typename"] == "PartitionBackfill" else None
        if found is None:
            raise ConfigurationError(
                f"Dagster knows no backfill '{backfill_id}' of a datasource.",
                hint="`ingestion-pipeline backfill list` shows them.",
            )
        return found

    def latest(self, limit: int) -> list[Backfill]:
        """The newest ones of datasources first; others among the `limit` are left out."""
        answer = self._ask(_LIST, limit=limit)["partitionBackfillsOrError"]
        if answer["__typename"] != "PartitionBackfills":
            raise DagsterUnavailable(f"Dagster could not list its backfills: {_said(answer)}")
        return [found for entry in answer["results"] if (found := _backfill(entry)) is not None]

    def cancel(self, backfill_id: str) -> None:
        """Ask Dagster to stop it: its runs are terminated, and those in the queue not started."""
        answer = self._ask(_CANCEL, id=backfill_id)["cancelPartitionBackfill"]
        if answer["__typename"] != "CancelBackfillSuccess":
            raise ConfigurationError(f"Dagster did not stop the backfill {backfill_id}: {_said(answer)}")

    def _ask(self, query: str, **variables: Any) -> Mapping[str, Any]:
        try:
            answer = self._session.post(
                f"{self._url}/graphql", json={"query": query, "variables": variables}, timeout=TIMEOUT_SECONDS
            )
            body = answer.json() if answer.ok else None
        except (requests.RequestException, ValueError) as error:
            raise self._no_answer() from error
        if not isinstance(body, dict) or not isinstance(body.get("data"), dict):
            raise self._no_answer()
        data: Mapping[str, Any] = body["data"]
        return data

    def _no_answer(self) -> DagsterUnavailable:
        return DagsterUnavailable(
            f"Dagster's webserver at {self._url} does not answer.",
            hint="Start it (`ingestion-pipeline up`), or set INGESTION_DAGSTER_URL to where it is.",
        )


def _backfill(entry: Mapping[str, Any]) -> Backfill | None:
    selection: Sequence[Mapping[str, Any]] = entry["assetSelection"] or []
    if not entry["isAssetBackfill"] or len(selection) != 1:
        return None
    data = entry["assetBackfillData"] or {}
    targeted = data.get("rootTargetedPartitions") or {}
    counts: Mapping[str, int] = next((found for found in data.get("assetBackfillStatuses") or [] if found), {})
    ended = entry["endTimestamp"]
    return Backfill(
        backfill_id=entry["id"],
        datasource="/".join(selection[0]["path"]),
        status=BackfillStatus(entry["status"]),
        started_at=datetime.fromtimestamp(entry["timestamp"], UTC),
        ended_at=datetime.fromtimestamp(ended, UTC) if ended else None,
        ranges=tuple(
            (date.fromisoformat(first), date.fromisoformat(last))
            for first, last in [
                *((span["start"], span["end"]) for span in targeted.get("ranges") or []),
                *((key, key) for key in targeted.get("partitionKeys") or []),
            ]
        ),
        days=entry["numPartitions"] or 0,
        days_done=counts.get("numPartitionsMaterialized", 0),
        days_failed=counts.get("numPartitionsFailed", 0),
        days_in_progress=counts.get("numPartitionsInProgress", 0),
        problem=(entry["error"] or {}).get("message"),
    )


def _said(answer: Mapping[str, Any]) -> str:
    lines = str(answer.get("message") or answer["__typename"]).strip().splitlines()
    return lines[0][:300]
