"""Diagnose: from what each system says of a file to why it is not loaded, and what to do. Pure.

What belongs here: which fact is the true cause (the first that would still hold the file if all after it were well), in
which words, and the next step; `status` and `rejected` take their next steps from here too. What does not: asking the
systems (`cli.facts`), showing (`cli.why`).
"""

from ingestion_pipeline.stages.diagnose.answer import Answer, Standing, commands_in
from ingestion_pipeline.stages.diagnose.decide import diagnose
from ingestion_pipeline.stages.diagnose.evidence import Evidence, Mark, evidence
from ingestion_pipeline.stages.diagnose.sensor import sensor_problem

__all__ = ["Answer", "Evidence", "Mark", "Standing", "commands_in", "diagnose", "evidence", "sensor_problem"]
