"""Draft the contract of files that nobody has described: the contract a person would have written.

What belongs here: the stage itself. Bytes of samples come in, YAML goes out; what each type accepts is told by the
caller, since validation is another stage. Nothing here is random or depends on the clock: the same samples, the same
draft.
"""

from ingestion_pipeline.stages.infer.names import datasource_name
from ingestion_pipeline.stages.infer.run import Draft, infer
from ingestion_pipeline.stages.infer.samples import Sample, Seen

__all__ = ["Draft", "Sample", "Seen", "datasource_name", "infer"]
