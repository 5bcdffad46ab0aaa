"""Files from S3 into Apache Druid, with a ledger, row errors and a proof by count."""

__version__ = "0.1.0"
