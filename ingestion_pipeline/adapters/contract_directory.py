"""The contracts' directory as a long-lived process sees it: read again when a file changed."""

import threading
from pathlib import Path

from ingestion_pipeline.adapters.contracts import load_contracts
from ingestion_pipeline.domain.contract import ContractBook

_Stamp = tuple[tuple[str, int, int], ...]


class ContractDirectory:
    """Contracts by datasource; `book()` costs one directory listing when nothing changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._stamp: _Stamp | None = None
        self._book = ContractBook()

    def book(self) -> ContractBook:
        """The present contracts.

        Raises:
            ConfigurationError: The directory cannot be read.
        """
        with self._lock:
            stamp = self._look()
            if stamp is None or stamp != self._stamp:
                self._book = load_contracts(self.path)
                self._stamp = stamp
            return self._book

    def _look(self) -> _Stamp | None:
        try:
            return tuple(
                sorted(
                    (entry.name, stat.st_mtime_ns, stat.st_size)
                    for entry in self.path.iterdir()
                    if (stat := entry.stat())
                )
            )
        except OSError:
            return None  # load_contracts says why
