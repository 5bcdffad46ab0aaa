"""Nouns: values only. No I/O, no clock, no Dagster."""
