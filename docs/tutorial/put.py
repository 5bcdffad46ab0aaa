"""Put a file into the pipeline's bucket under a key of your choice, as any S3 client would: put.py FILE KEY."""

import sys
from pathlib import Path

from ingestion_pipeline.adapters.s3 import ObjectStore
from ingestion_pipeline.settings import load_settings

file, key = sys.argv[1:]
bucket = ObjectStore.from_settings(load_settings())
bucket.put_file(key, Path(file))
sys.stdout.write(f"{bucket.url(key)}\n")
