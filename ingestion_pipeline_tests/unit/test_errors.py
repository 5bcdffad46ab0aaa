"""The error tree: what each error says, and that it survives the way between processes."""

import pickle

import pytest

from ingestion_pipeline import errors
from ingestion_pipeline.errors import IngestionError, PermanentError, TransientError


def every_error(base: type[IngestionError] = IngestionError) -> list[type[IngestionError]]:
    here = [kind for kind in base.__subclasses__() if kind.__module__ == errors.__name__]
    return [base, *(found for kind in here for found in every_error(kind))]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_an_error_crosses_a_process_border_whole(kind: type[IngestionError]) -> None:
    error = kind("What happened.", hint="What to do.", details={"line": 3})

    arrived = pickle.loads(pickle.dumps(error))

    assert type(arrived) is kind
    assert arrived.as_dict() == error.as_dict()
    assert str(arrived) == "What happened. What to do."


def test_codes_tell_the_kinds_apart() -> None:
    kinds = every_error()
    assert len({kind.code for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("kind", every_error(TransientError), ids=lambda kind: kind.__name__)
def test_a_transient_error_may_be_tried_again(kind: type[IngestionError]) -> None:
    assert kind.retryable


def test_of_the_permanent_errors_only_a_correction_beside_another_may_be_tried_again() -> None:
    assert [kind.__name__ for kind in every_error(PermanentError) if kind.retryable] == ["FixUnderWay"]


def test_every_error_of_the_tree_is_drawn_at_the_top_of_its_file() -> None:
    assert errors.__doc__ is not None
    assert not [kind.__name__ for kind in every_error() if kind.__name__ not in errors.__doc__]
