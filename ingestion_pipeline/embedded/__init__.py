"""The local stack: real PostgreSQL, S3, Druid and Dagster as processes on loopback.

What belongs here: configuring, starting, watching and stopping these servers, for the demo, the tests and a
developer's machine. What does not: anything that production needs; no other package imports this one, except
the command line.
"""
