"""The Dagster layer: one file per Dagster concept, thin over stages and adapters."""
