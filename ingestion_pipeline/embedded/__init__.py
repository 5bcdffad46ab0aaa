"""The local stack: real PostgreSQL, S3, Druid and Dagster as processes on loopback."""
