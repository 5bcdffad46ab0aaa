"""What the S3 adapter raises is logged by Dagster with its causes: no signature may be in any of them."""

import traceback

import pytest

from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.errors import S3Unavailable


def test_a_listing_that_gets_no_answer_does_not_tell_its_signed_url() -> None:
    store = ObjectStore(
        bucket="bucket",
        endpoint_url="http://127.0.0.1:9",  # nobody listens
        region="us-east-1",
        access_key_id="the-access-key",
        secret_access_key="the-secret",
    )

    with pytest.raises(S3Unavailable) as raised:
        store.list_page("exports/")

    told = "".join(traceback.format_exception(raised.value))
    assert "ConnectionError" in told, "the cause is kept"
    assert "the-access-key" not in told
    assert "Signature=…" in told
