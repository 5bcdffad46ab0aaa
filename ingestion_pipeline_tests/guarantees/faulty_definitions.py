"""The code location of the tests' stack: the pipeline's own definitions over adapters that can be struck.

What belongs here: where faults may strike. What does not: behaviour; nothing differs from
`ingestion_pipeline.definitions` unless a test arms a fault.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import dagster as dg
from pydantic import SecretStr

from ingestion_pipeline.adapters.druid import Druid
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.definitions import build_defs
from ingestion_pipeline.defs import resources
from ingestion_pipeline.settings import Settings
from ingestion_pipeline_tests.guarantees.faults import holds, strike


class FaultyObjectStore(ObjectStore):
    def read(self, key: str, *, if_match: str | None = None) -> Iterator[bytes]:
        for chunk in super().read(key, if_match=if_match):
            while holds("hold_reading") and "held" in key:
                time.sleep(0.1)
            yield chunk
            strike("reading", key.split("/")[1])


class FaultyBucketResource(resources.BucketResource):
    def create_resource(self, context: dg.InitResourceContext) -> ObjectStore:
        values = resources.settings()
        if holds("wrong_secret"):
            values = values.model_copy(update={"s3_secret_access_key": SecretStr("not-the-secret")})
        if holds("absent_bucket"):
            values = values.model_copy(update={"s3_bucket": "no-such-bucket"})
        return FaultyObjectStore.from_settings(values)


class FaultyDruid(Druid):
    def submit(self, spec: Mapping[str, Any]) -> Literal["accepted", "exists"]:
        datasource = spec["spec"]["dataSchema"]["dataSource"]
        strike("before_post", datasource)
        answer = super().submit(spec)
        strike("after_post", datasource)
        return answer

    def unready(self) -> str | None:
        return "A test holds dispatch." if holds("hold_dispatch") else super().unready()


class FaultyDruidResource(resources.DruidResource):
    def connect(self, values: Settings) -> Druid:
        return FaultyDruid(
            coordinator_url=values.druid_coordinator_url,
            overlord_url=values.druid_overlord_url,
            broker_url=values.druid_broker_url,
        )


defs = build_defs({"bucket": FaultyBucketResource(), "druid": FaultyDruidResource()})
