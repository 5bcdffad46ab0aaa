"""Verbs in flow order, pure: what a run does to a file, without knowing where it lies."""
