"""Validate one file against its contract: good rows and bad rows to a sink, everything counted.

What belongs here: the stage itself. No S3, no ledger, no Dagster: bytes come in, frames and a report go out.
"""

from ingestion_pipeline.stages.validate.contract_module import ContractModule
from ingestion_pipeline.stages.validate.report import (
    REJECTED_SCHEMA,
    ValidationProgress,
    ValidationReport,
    ValidationSink,
)
from ingestion_pipeline.stages.validate.run import validate

__all__ = ["REJECTED_SCHEMA", "ContractModule", "ValidationProgress", "ValidationReport", "ValidationSink", "validate"]
