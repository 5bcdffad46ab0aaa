"""Alembic migrations of the ledger. The schema's truth; `adapters/postgres_tables.py` mirrors it."""
