"""Check on a real PostgreSQL that the migrations make exactly the tables that the code describes."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ingestion_pipeline.embedded.stack import Stack


def main() -> int:
    """Exit code of `alembic check` against a database that the migrations have just made."""
    with tempfile.TemporaryDirectory(prefix="alembic-check-") as directory:
        stack = Stack(Path(directory) / "stack", use_free_ports=True)
        try:
            stack.up(only=["postgres"])
            command = [sys.executable, "-m", "alembic", "check"]
            return subprocess.run(command, env={**os.environ, **stack.environment()}, check=False).returncode
        finally:
            stack.down()


if __name__ == "__main__":
    sys.exit(main())
