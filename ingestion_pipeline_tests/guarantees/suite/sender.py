"""The customers and the operator: do what the schedule says, as long as it takes to be acknowledged.

What belongs here: putting, announcing, correcting, replaying and undoing through the product's own doors, and waiting
until an action may come. What does not: what must come of it (`model`). A deed that fails because a server is away is
repeated under the same ids until it is acknowledged, as a patient client does; it counts once.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import psycopg
import requests
import sqlalchemy as sa

from ingestion_pipeline.adapters.postgres import Ledger
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.domain.job import Cause, Lane, Priority
from ingestion_pipeline.domain.upload import StoredObject, Upload
from ingestion_pipeline.errors import IngestionError
from ingestion_pipeline_tests.guarantees.suite.content import Content
from ingestion_pipeline_tests.guarantees.suite.model import ItemModel, Model
from ingestion_pipeline_tests.guarantees.suite.schedule import Action, Schedule
from ingestion_pipeline_tests.guarantees.system import FINAL, System

AWAY = (IngestionError, sa.exc.SQLAlchemyError, psycopg.Error, requests.RequestException, OSError)
_SPACE = UUID("8b0f4c2e-6a43-4a57-9a55-6f2a5f0d4d11")


@dataclass(slots=True)
class Track:
    """One item on its way through its actions.

    Attributes:
        keys: Every key that it was sent under.
        version: What the bucket said of the last put.
        newest_job: The job that the last action made, where the sender knows its id.
        next: Which action comes next.
        contents: By key and etag, what was sent: which files are bad is known by it.
    """

    model: ItemModel
    keys: list[str] = field(default_factory=list)
    version: StoredObject | None = None
    newest_job: str | None = None
    next: int = 0
    put: bool = False
    look_at: float = 0.0
    contents: dict[tuple[str, str], Content] = field(default_factory=dict)

    @property
    def action(self) -> Action | None:
        actions = self.model.item.actions
        return actions[self.next] if self.next < len(actions) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """An acknowledged action, and when."""

    at: float
    action: Action


class Sender:
    """Plays the actions of a schedule, in one thread.

    Args:
        clock: Seconds since the play began.
    """

    def __init__(self, system: System, schedule: Schedule, model: Model, clock: Callable[[], float]) -> None:
        self._system, self._clock, self._seed = system, clock, schedule.seed
        self._ledger = Ledger(system.settings.ledger_url.get_secret_value())
        self._bucket = ObjectStore.from_settings(system.settings)
        self.tracks = [Track(model.items[item.number]) for item in schedule.items]
        self.done: list[Done] = []
        self.lost_by_s3: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._play, name="sender", daemon=True)
        self.error: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Give up what has not been done."""
        self._stop.set()
        self._thread.join(timeout=180)
        self._ledger.close()

    def undone(self) -> list[Action]:
        """Actions that never came to be."""
        return [action for track in self.tracks for action in track.model.item.actions[track.next :]]

    def _play(self) -> None:
        try:
            while not self._stop.is_set() and any(track.action for track in self.tracks):
                for track in self.tracks:
                    action, now = track.action, self._clock()
                    if action is None or now < action.at or now < track.look_at or self._stop.is_set():
                        continue
                    track.look_at = now + 1.0
                    self._try(track, action)
                time.sleep(0.1)
        except BaseException as error:  # noqa: BLE001  # told by whoever waits for this thread
            self.error = error

    def _try(self, track: Track, action: Action) -> None:
        try:
            if not self._may_come(track, action):
                return
            content = track.model.next_content(action)
            self._do(track, action, content)
        except AWAY:
            return  # again in a second, under the same ids
        track.model.done(action, content)
        self.done.append(Done(at=self._clock(), action=action))
        track.next += 1
        track.put = False

    # When

    def _may_come(self, track: Track, action: Action) -> bool:
        if action.when == "any" or action.deed == "send" or track.put:
            return True
        jobs = self.jobs(track)
        known = next((job for job in jobs if self.is_newest(track, job)), None)
        if known is None:
            return False
        if action.when == "loading":
            return str(known["status"]) != "pending"
        return all(job["status"] in FINAL for job in jobs)

    def is_newest(self, track: Track, job: dict[str, Any]) -> bool:
        """Whether a job is the one that the item's last action made."""
        if track.newest_job is not None:
            return str(job["job_id"]) == track.newest_job
        version = track.version
        return version is not None and (version.key, version.etag, version.last_modified) == (
            job["object_key"],
            job["etag"],
            job["last_modified"],
        )

    def jobs(self, track: Track) -> list[dict[str, Any]]:
        """Every job of an item, oldest first."""
        with self._ledger.engine.begin() as connection:
            rows = connection.execute(
                sa.text(
                    "SELECT job_id::text AS job_id, object_key, etag, last_modified, status, outcome, cause "
                    "FROM ingestion_jobs WHERE object_key = ANY(:keys) ORDER BY created_at, job_id"
                ),
                {"keys": track.keys},
            )
            return [dict(row) for row in rows.mappings()]

    # What

    def _do(self, track: Track, action: Action, content: Content) -> None:
        item = track.model.item
        new_id = str(uuid5(_SPACE, f"{self._seed} {item.number} {item.actions.index(action)}"))
        if action.deed in ("replay", "undo"):
            self._order(track, Cause(action.deed), new_id)
        elif item.announced or action.deed == "fix":
            self._upload(track, action, content, new_id)
        else:
            key = track.keys[-1] if track.keys else self._claimed_key(track, content)
            self._put(track, key, content)
            track.newest_job = None

    def _claimed_key(self, track: Track, content: Content) -> str:
        item = track.model.item
        return f"exports/{item.datasource}/{item.organization}/{item.day}/{item.number:04}{content.suffix}"

    def _put(self, track: Track, key: str, content: Content) -> None:
        if not track.put:
            self._bucket.put(key, content.data)
            track.put = True
            if key not in track.keys:
                track.keys.append(key)
        stored = self._bucket.head(key)
        if stored is None:
            # Acknowledged, and gone: S3's loss, not the pipeline's. Its customer sends it again.
            self.lost_by_s3.append(key)
            track.put = False
            raise OSError(f"{key} was acknowledged and is not there")
        track.version = stored
        track.contents[(key, stored.etag)] = content

    def _upload(self, track: Track, action: Action, content: Content, job_id: str) -> None:
        """Announce, put, bind: what `ingestion-pipeline upload` does."""
        item = track.model.item
        key = f"uploads/{item.organization}/{item.datasource}/{item.day}/{job_id}/{item.number:04}{content.suffix}"
        if not self._exists(job_id):
            anchor = self._loaded(track) if action.deed in ("fix", "replace") else None
            self._ledger.discovery.announce(
                job_id=job_id,
                organization=item.organization,
                datasource=item.datasource,
                bucket=self._bucket.bucket,
                object_key=key,
                size_bytes=len(content.data),
                uploaded_by="guarantees",
                priority=Priority.MEDIUM,
                partition_day=item.day,
                upload_url=self._bucket.url(key),
                now=datetime.now(UTC),
                fixes_job_id=anchor if action.deed == "fix" else None,
                replaces_job_id=anchor if action.deed == "replace" else None,
            )
        self._put(track, key, content)
        assert track.version is not None
        upload = Upload(
            organization=item.organization,
            datasource=item.datasource,
            bucket=self._bucket.bucket,
            stored=track.version,
            partition_day=item.day,
        )
        binding = uuid5(_SPACE, f"bind {job_id}")
        self._ledger.discovery.enter([(upload, Lane.LIVE)], job_ids=[binding], now=datetime.now(UTC))
        track.newest_job = job_id

    def _order(self, track: Track, cause: Cause, new_id: str) -> None:
        """Undo or replay what the item has loaded last."""
        if not self._exists(new_id):
            made = self._ledger.corrections.begin(
                cause, [self._loaded(track)], new_ids=[new_id], now=datetime.now(UTC), user="guarantees"
            )
            if made != [new_id]:
                raise OSError(f"{cause} of item {track.model.item.number} made no job")
        track.newest_job = new_id

    def _loaded(self, track: Track) -> str:
        """The item's newest job with rows in Druid; a correction of rejected rows is part of its file's job."""
        loaded = [
            job
            for job in self.jobs(track)
            if job["outcome"] in ("loaded", "loaded_with_rejects") and job["cause"] != Cause.RESUBMIT
        ]
        if not loaded:
            raise OSError(f"item {track.model.item.number} has nothing loaded (yet)")
        return str(loaded[-1]["job_id"])

    def _exists(self, job_id: str) -> bool:
        """Whether an earlier try got further than its answer."""
        return bool(self._ledger.jobs.rows_of([job_id]))
