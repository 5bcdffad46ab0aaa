"""What the commands talk to: ledger, bucket, Druid, receivers, contracts, made from the settings and closed again.

What belongs here: opening and closing. What does not: what is asked of them. Each adapter is imported when
it is first wanted: a command that only reads the ledger does not pay for the others.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from ingestion_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from ingestion_pipeline.adapters.callback import CallbackSender
    from ingestion_pipeline.adapters.druid import Druid
    from ingestion_pipeline.adapters.postgres import Ledger
    from ingestion_pipeline.adapters.s3 import ObjectStore
    from ingestion_pipeline.domain.contract import ContractBook


class Connections:
    """The outside systems of one command; nothing is connected before it is used.

    Args:
        patience_seconds: How long the bucket or Druid may take over one answer; None: as long as in a run.
    """

    def __init__(self, settings: Settings, *, patience_seconds: float | None = None) -> None:
        self.settings = settings
        self._patience_seconds = patience_seconds

    @cached_property
    def ledger(self) -> "Ledger":
        from ingestion_pipeline.adapters.postgres import Ledger

        return Ledger(self.settings.ledger_url.get_secret_value())

    @cached_property
    def bucket(self) -> "ObjectStore":
        from ingestion_pipeline.adapters.s3 import ObjectStore

        seconds = self._patience_seconds
        if seconds is None:
            return ObjectStore.from_settings(self.settings)
        return ObjectStore.from_settings(self.settings, request_seconds=seconds, retry_seconds=seconds)

    @cached_property
    def druid(self) -> "Druid":
        from ingestion_pipeline.adapters.druid import Druid

        password = self.settings.druid_password
        return Druid(
            coordinator_url=self.settings.druid_coordinator_url,
            overlord_url=self.settings.druid_overlord_url,
            broker_url=self.settings.druid_broker_url,
            username=self.settings.druid_username,
            password=password.get_secret_value() if password else None,
            **({} if self._patience_seconds is None else {"timeout_seconds": self._patience_seconds}),
        )

    @cached_property
    def callback(self) -> "CallbackSender":
        from ingestion_pipeline.adapters.callback import CallbackSender

        return CallbackSender.from_settings(self.settings)

    @cached_property
    def contracts(self) -> "ContractBook":
        from ingestion_pipeline.adapters.contracts import load_contracts

        return load_contracts(self.settings.contracts_dir)

    def close(self) -> None:
        """Give back what was opened."""
        for name in ("ledger", "druid"):
            if name in self.__dict__:
                self.__dict__[name].close()


@contextmanager
def connected(settings: Settings | None = None, *, patience_seconds: float | None = None) -> Iterator[Connections]:
    """Connections from the given settings, or from the environment and the running stack's.

    Args:
        patience_seconds: As for `Connections`.

    Raises:
        ConfigurationError: A setting cannot be read.
    """
    connections = Connections(settings or load_settings(), patience_seconds=patience_seconds)
    try:
        yield connections
    finally:
        connections.close()
