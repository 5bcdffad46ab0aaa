"""Makes what the services expect to find: the ledger's newest schema, the uploads' bucket and Druid's.

What belongs here: steps that may be repeated at every start and need the ledger's owner. What does not: roles and
databases (`deploy/postgres`), or anything that a running service does itself.
"""

import os
import sys

from ingestion_pipeline.adapters.postgres_migrate import migrate
from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.errors import IngestionError
from ingestion_pipeline.settings import load_settings


def main() -> int:
    """Prepare all; an error of the tree is told as one line."""
    try:
        settings = load_settings()
        if settings.ledger_owner_url is not None:
            migrate(settings.ledger_owner_url.get_secret_value())
        for bucket in (settings.s3_bucket, os.environ["DRUID_BUCKET"]):
            ObjectStore.from_settings(settings.model_copy(update={"s3_bucket": bucket})).ensure_bucket()
    except IngestionError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the container's log is where its reader looks
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
