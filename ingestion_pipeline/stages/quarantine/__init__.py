"""Rejected rows as files: a CSV in which nothing is a formula, the original lines to correct, a workbook to look at.

What belongs here: entries of validation to what a person opens. What does not: rejecting (`stages.validate`), where
the files lie (the caller's).
"""
