"""The command line: parse, call, print. Decisions belong below."""
