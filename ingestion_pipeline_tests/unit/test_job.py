"""Statuses and what validate leaves behind: rules between words, without the ledger."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion_pipeline.domain.job import TRANSITIONS, AttemptState, Staged, Status

FINAL = {Status.COMPLETED, Status.FAILED, Status.CANCELED}


def test_every_status_has_a_rule_and_no_rule_leads_to_itself() -> None:
    assert set(TRANSITIONS) == set(Status)
    assert not [status for status, following in TRANSITIONS.items() if status in following]


@pytest.mark.parametrize("status", list(Status))
def test_a_status_is_final_when_nothing_may_follow_it(status: Status) -> None:
    assert status.is_final == (status in FINAL)


def test_every_status_can_be_reached_from_pending_and_can_end() -> None:
    reached, edge = set(), {Status.PENDING}
    while edge:
        reached |= edge
        edge = {after for status in edge for after in TRANSITIONS[status]} - reached
    assert reached == set(Status)
    assert all(TRANSITIONS[status] & FINAL for status in set(Status) - FINAL)


def test_an_attempt_is_open_until_its_rows_are_proved_absent_or_given_up() -> None:
    assert {state for state in AttemptState if not state.is_open} == {
        AttemptState.PROVED,
        AttemptState.ABSENT,
        AttemptState.UNPROVED,
    }


@given(
    st.builds(
        Staged,
        contract_version=st.text(),
        parts=st.lists(st.text()).map(tuple),
        time_chunks=st.lists(st.text()).map(tuple),
        cleaned_key=st.none() | st.text(),
        cleaned_bytes=st.integers(min_value=0),
    )
)
@settings(deadline=None)
def test_staged_comes_back_from_the_ledger_as_it_went_in(staged: Staged) -> None:
    assert Staged.from_dict(staged.as_dict()) == staged
