"""Work over several outside systems that Dagster's jobs and the command line share; no Dagster, no decisions."""
