"""Benchmarks: what the pipeline costs, beside what the parts it stands on cost, measured in the same run."""
