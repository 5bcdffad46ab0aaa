"""Rules, keys and time: only those that a person would dare to write after seeing the rows."""

import itertools
import random

import pytest
import yaml

from ingestion_pipeline_tests.unit.drafts import contract_in, draft_of, keys_in, sample, table_of


def checks(columns, name):
    return keys_in(draft_of(table_of(columns)), name).get("checks")


def test_a_few_words_that_come_again_and_again_are_all_there_are():
    assert checks({"size": ["S", "M", "L"] * 40}, "size") == {"isin": ["L", "M", "S"]}


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param(["S", "M", "L"] * 4, id="too few rows"),
        pytest.param(["S", "M"] * 100 + ["L"], id="a word that came once: others may come"),
        pytest.param([f"w{i % 15}" for i in range(300)], id="too many words"),
        pytest.param(["S"] * 200, id="one word"),
    ],
)
def test_words_that_may_have_more_beside_them_are_no_rule(cells):
    assert checks({"size": cells}, "size") is None


def test_words_in_a_rule_are_without_those_for_null():
    columns = {"size": ["S", "NULL", "L"] * 60}
    assert checks(columns, "size") == {"isin": ["L", "S"]}


@pytest.mark.parametrize(
    ("name", "cells", "expected"),
    [
        ("month", ["1", "7"], {"in_range": [1, 12]}),
        ("month", ["0", "7"], None),
        ("humidity", ["20.5", "80"], {"in_range": [0, 100]}),
        ("percent_change", ["20.5", "80"], None),
        ("latitude", ["48.1", "-33.2"], {"in_range": [-90, 90]}),
        ("quantity", ["1", "7"], {"ge": 0}),
        ("quantity", ["-1", "7"], None),
        ("dep_time", ["517", "533"], None),
        ("year", ["2013", "2013"], None),
    ],
)
def test_numbers_get_bounds_by_their_names_never_by_their_extremes(name, cells, expected):
    assert checks({name: cells}, name) == expected


def test_the_id_of_the_rows_is_unique_and_the_id_of_something_else_is_not():
    ids = [str(i) for i in range(20)]
    columns = {"customer_id": ids, "order_id": ids}
    assert contract_in(draft_of(table_of(columns), datasource="orders")).unique == ("order_id",)
    assert contract_in(draft_of(table_of({"customer_id": ids}), datasource="orders")).unique == ()
    assert contract_in(draft_of(table_of({"order_id": [*ids, "0"]}), datasource="orders")).unique == ()


def test_a_time_and_a_place_are_a_key_if_chance_does_not_explain_it():
    hours = [f"2024-01-{day:02}T{hour:02}:00:00Z" for day in range(1, 11) for hour in range(24)]
    rows = list(itertools.product(hours, ["EWR", "JFK"]))
    text = "time,origin\n" + "".join(f"{hour},{origin}\n" for hour, origin in rows)
    assert contract_in(draft_of(text)).unique == ("time", "origin")
    random.Random(1).shuffle(rows)
    alone = "time,origin\n" + "".join(f"{hour},{'AB'[i % 2]}\n" for i, hour in enumerate(hours))
    assert contract_in(draft_of(alone)).unique == (), "each time is there once: that tells nothing of pairs"
    few = "time,origin\n" + "".join(f"{hour},{origin}\n" for hour, origin in rows[:20])
    assert contract_in(draft_of(few)).unique == ()


def test_the_time_is_when_it_happened_not_when_somebody_was_born():
    text = (
        "birth_date,updated_at,created_at,day\n"
        + "1980-01-01,2024-01-03T00:00:00Z,2024-01-02T00:00:00Z,2024-01-02\n" * 3
    )
    draft = draft_of(text)
    assert draft.time_column == "created_at"
    assert draft.remarks == ["time: also possible: day, updated_at, birth_date"]


def test_a_time_without_a_zone_is_asked_about():
    draft = draft_of("at,x\n2024-01-01 10:00:00,1\n")
    assert any("name no zone" in remark for remark in draft.remarks)


def test_without_a_time_the_draft_says_what_to_do():
    draft = draft_of("a,b\n1,x\n2,y\n")
    assert draft.time_column is None
    assert yaml.safe_load(draft.text)["time"] == {"column": "CHANGE_ME"}
    assert any("name the one that says when a row happened" in remark for remark in draft.remarks)


def test_times_beyond_the_usual_bounds_get_bounds_of_their_own():
    contract = contract_in(draft_of("date,x\n1850-03-01,1\n1860-01-01,2\n"))
    assert contract.time.min.year == 1850


@pytest.mark.parametrize(
    ("days", "a_day", "expected"), [(1, 100_000, "day"), (3, 100, "month"), (1000, 1, "year")], ids=str
)
def test_segments_hold_what_a_day_brings(days, a_day, expected):
    days_and_rows = itertools.product(range(days), range(a_day))
    text = "at,n\n" + "".join(
        f"{2020 + d // 360}-{d // 30 % 12 + 1:02}-{d % 30 % 28 + 1:02}T00:00:00Z,{n}\n" for d, n in days_and_rows
    )
    assert contract_in(draft_of(text)).druid.segment_granularity == expected


def test_columns_that_some_samples_lack_are_not_required_and_types_hold_for_all():
    draft = draft_of(
        sample("at,n,old\n2024-01-01T00:00:00Z,1,x\n", "a.csv"),
        sample("at,n,new\n2024-01-02T00:00:00Z,1.5,y\n", "b.csv"),
    )
    assert keys_in(draft, "n") == {"type": "float"}
    assert keys_in(draft, "old") == {"type": "string", "required": False, "nullable": True}
    assert keys_in(draft, "new") == {"type": "string", "required": False, "nullable": True}
