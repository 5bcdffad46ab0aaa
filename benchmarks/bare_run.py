"""A code location with one job that does nothing: what a launched Dagster run costs by itself.

What belongs here: as little as Dagster accepts. `benchmarks.latency` serves it beside the pipeline's code location,
on the same instance; nothing of the pipeline is imported.
"""

import dagster as dg


@dg.op
def nothing() -> None:
    """Nothing."""


@dg.job
def bare() -> None:
    """One op; the executor is the pipeline's."""
    nothing()


defs = dg.Definitions(jobs=[bare], executor=dg.in_process_executor)
