"""Every error this system raises on purpose, in one tree.

::

    IngestionError                      code, message, hint, details; `retryable` says what a caller may do
    ├── PermanentError                  trying again with the same input gives the same answer
    │   ├── ConfigurationError          settings, credentials, an absent bucket
    │   │   └── StackError              the embedded stack could not start or stop
    │   ├── ContractError               a contract file is wrong: file, line, key
    │   ├── FileError                   one file cannot be loaded (its siblings can)
    │   │   ├── UnreadableFile          not the format it should be, truncated, not text
    │   │   ├── ObjectMissing           the object was deleted before it was read
    │   │   ├── ObjectDenied            the object may not be read, though its bucket may be listed
    │   │   ├── ObjectSuperseded        the object was replaced before it was read
    │   │   ├── NoAcceptedRows          every row was rejected
    │   │   ├── TooManyRejects          more rows were rejected than the contract allows
    │   │   ├── FamilyChanged           the job that it belongs to was replaced or undone meanwhile
    │   │   ├── FixUnderWay             rejected rows of the same file are being corrected already
    │   │   └── NotAFix                 a correction of rejected rows has more rows than are open
    │   ├── DruidRejected               Druid refused the task: 4xx, a spec that it cannot parse
    │   ├── CorrectionRefused           rewriting the rows would damage others; nothing was changed
    │   └── ProofFailed                 Druid does not hold what was loaded
    │       ├── Unproved                fewer rows than expected when the deadline passed
    │       └── Duplicated              more rows than expected
    ├── TransientError                  the same call may succeed later
    │   ├── S3Unavailable
    │   ├── DruidUnavailable
    │   ├── LedgerUnavailable
    │   ├── DagsterUnavailable          its webserver gives no answer
    │   ├── DatasourceBusy              another change of the datasource must end first
    │   ├── ContractChanged             the file was checked under another version of its contract
    │   └── TaskFailed                  a Druid task ended FAILED for a reason that can heal
    └── LeaseLost                       another run took these jobs over; stop writing, at once

What belongs here: classes and their fields. What does not: deciding which class a foreign error
becomes; each adapter does that for its own system, once.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class IngestionError(Exception):
    """Base of the tree.

    Args:
        message: What happened and where, one sentence, without secrets or URL query strings.
        hint: What the reader can do now.
        details: Values for machines (JSON-ready); shown in the ledger beside the message.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details: dict[str, Any] = dict(details or {})

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()

    def as_dict(self) -> dict[str, Any]:
        """The error as the ledger stores it: type, code, message, hint, retryable, details."""
        return {
            "type": type(self).__name__,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
            "details": self.details,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders (Dagster pickles them): keyword-only fields need help.
        return (_rebuild, (type(self), self.message, self.hint, self.details))


def _rebuild(cls: type[IngestionError], message: str, hint: str, details: dict[str, Any]) -> IngestionError:
    error = cls.__new__(cls)
    IngestionError.__init__(error, message, hint=hint, details=details)
    return error


class PermanentError(IngestionError):
    code = "permanent"


class ConfigurationError(PermanentError):
    code = "configuration"


class StackError(ConfigurationError):
    code = "stack"


class ContractError(PermanentError):
    """A contract that cannot be used; `details` has file, line (1-based) and key (dotted path)."""

    code = "contract_invalid"


class FileError(PermanentError):
    code = "file"


class UnreadableFile(FileError):
    code = "unreadable"


class ObjectMissing(FileError):
    code = "object_missing"


class ObjectDenied(FileError):
    code = "object_denied"


class ObjectSuperseded(FileError):
    code = "superseded"


class NoAcceptedRows(FileError):
    code = "no_accepted_rows"


class TooManyRejects(FileError):
    code = "too_many_rejects"


class FamilyChanged(FileError):
    code = "family_changed"


class FixUnderWay(FileError):
    code = "fix_under_way"
    retryable = True


class NotAFix(FileError):
    code = "not_a_fix"


class DruidRejected(PermanentError):
    code = "druid_rejected"


class CorrectionRefused(PermanentError):
    code = "correction_refused"


class ProofFailed(PermanentError):
    code = "proof_failed"


class Unproved(ProofFailed):
    code = "unproved"


class Duplicated(ProofFailed):
    code = "duplicated"


class TransientError(IngestionError):
    code = "transient"
    retryable = True


class S3Unavailable(TransientError):
    code = "s3_unavailable"


class DruidUnavailable(TransientError):
    code = "druid_unavailable"


class LedgerUnavailable(TransientError):
    code = "ledger_unavailable"


class DagsterUnavailable(TransientError):
    code = "dagster_unavailable"


class DatasourceBusy(TransientError):
    code = "datasource_busy"


class ContractChanged(TransientError):
    code = "contract_changed"

    @classmethod
    def of(cls, datasource: str) -> "ContractChanged":
        return cls(
            f"The contract of {datasource} was changed after the file was checked.",
            hint="It is checked again, under the present one, by itself.",
        )


class TaskFailed(TransientError):
    code = "task_failed"


class LeaseLost(IngestionError):
    code = "lease_lost"
