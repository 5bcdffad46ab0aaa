"""What a column is taken for: numbers only where no text is lost, dates only where the cells tell their order."""

import pytest

from ingestion_pipeline_tests.unit.drafts import column_of, contract_in, draft_of, keys_in, table_of


@pytest.mark.parametrize(
    ("cells", "type_"),
    [
        (["1", "-20", "0"], "integer"),
        (["1.5", "2", "-0.25"], "float"),
        (["1.5", "1e3", "2E-7"], "float"),
        (["true", "False"], "boolean"),
        (["yes", "no"], "boolean"),
        (["Y", "N"], "boolean"),
        (["2024-01-01", "2023-12-31"], "date"),
        (["2024-01-01T00:00:00Z", "2023-12-31 23:59:59.5+01:00"], "datetime"),
        (["2024-01-01", "2023-12-31 23:59"], "datetime"),
        (["1", "2.5", "x"], "string"),
    ],
)
def test_a_column_is_of_the_narrowest_type_that_takes_every_cell(cells, type_):
    assert column_of(cells).type == type_


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param(["007", "123"], id="leading zeros"),
        pytest.param(["12345678901234567890", "1"], id="more digits than 64 bits hold"),
        pytest.param(["1234567890123456789", "1"], id="nineteen digits"),
        pytest.param(["1e5", "12E4", "3e7"], id="codes like 1e5"),
        pytest.param(["+4915112345678", "+441632960961"], id="telephone numbers"),
        pytest.param(["00:15", "12:30"], id="times of the day"),
        pytest.param(["Y", "Y"], id="one letter alone"),
        pytest.param(["1_000", "2_000"], id="underscores"),
        pytest.param(["0x1F", "0x20"], id="hexadecimal"),
        pytest.param(["1e999", "1.5"], id="beyond every float"),
        pytest.param(["inf", "1.5"], id="infinity"),
        pytest.param(["192.168.0.1", "10.0.0.1"], id="addresses"),
        pytest.param(["2024-02-30", "2024-02-01"], id="days that do not exist"),
        pytest.param(["13-01-05", "14-02-06"], id="years of two digits first"),
    ],
)
def test_what_only_looks_like_a_value_stays_text(cells):
    assert column_of(cells).type == "string"


@pytest.mark.parametrize("name", ["zip", "postal_code", "Phone", "account_no", "isbn", "app_version"])
def test_digits_under_a_name_of_codes_stay_text(name):
    columns = contract_in(draft_of(table_of({name: ["90210", "10001"]}))).columns
    assert columns[1].type == "string"


@pytest.mark.parametrize(
    ("cells", "type_", "format_"),
    [
        (["31/01/2024", "01/02/2024"], "date", "%d/%m/%Y"),
        (["01/31/2024", "01/02/2024"], "date", "%m/%d/%Y"),
        (["31.01.2024", "1.2.2024"], "date", "%d.%m.%Y"),
        (["01.02.2024", "02.02.2024"], "date", "%d.%m.%Y"),
        (["2024/01/31", "2024/02/01"], "date", "%Y/%m/%d"),
        (["05-Jan-2024", "06-FEB-2024"], "date", "%d-%b-%Y"),
        (["January 5, 2024", "May 6, 2024"], "date", "%B %d, %Y"),
        (["31/01/2024 10:15", "01/02/2024 23:00"], "datetime", "%d/%m/%Y %H:%M"),
        (["1/31/2024 10:15:00 PM", "2/1/2024 1:05:00 AM"], "datetime", "%m/%d/%Y %I:%M:%S %p"),
        (["05/Jan/2024:10:00:00 +0100", "06/Jan/2024:10:00:00 +0000"], "datetime", "%d/%b/%Y:%H:%M:%S %z"),
        (
            ["Fri, 05 Jan 2024 10:00:00 +0100", "Sat, 06 Jan 2024 10:00:00 +0000"],
            "datetime",
            "%a, %d %b %Y %H:%M:%S %z",
        ),
    ],
)
def test_dates_are_read_as_their_cells_are_written(cells, type_, format_):
    draft = draft_of(table_of({"x": [f'"{cell}"' for cell in cells]}))
    assert keys_in(draft, "x") == {"type": type_, "format": format_}


@pytest.mark.parametrize(
    ("name", "cells", "format_"),
    [
        ("ts", ["1704067200", "1704067201"], "epoch_s"),
        ("event_time", ["1704067200123", "1704067201456"], "epoch_ms"),
        ("order_date", ["20240131", "20240201"], "%Y%m%d"),
    ],
)
def test_digits_under_the_name_of_a_time_are_times(name, cells, format_):
    assert keys_in(draft_of(table_of({name: cells})), name)["format"] == format_
    assert column_of(cells, "number").type == "integer"


def test_days_that_could_be_months_stay_text_and_a_person_is_asked():
    draft = draft_of(table_of({"sold": ["01/02/2024", "03/04/2024"]}))
    assert keys_in(draft, "sold") == {"type": "string"}
    [remark] = draft.remarks
    assert "day or month first" in remark
    assert '"%d/%m/%Y" or "%m/%d/%Y"' in remark


def test_days_that_could_be_months_follow_another_column_of_the_file():
    draft = draft_of(table_of({"sold": ["01/02/2024", "03/04/2024"], "sent": ["30/01/2024", "13/04/2024"]}))
    assert keys_in(draft, "sold") == {"type": "date", "format": "%d/%m/%Y"}
    assert any("as in sent" in remark for remark in draft.remarks)


def test_money_with_as_many_digits_after_every_point_is_decimal_and_a_person_is_told():
    draft = draft_of(table_of({"price": ["3.20", "12.00"], "depth": ["3.20", "12.00"]}))
    assert keys_in(draft, "price") == {"type": "decimal", "precision": 18, "scale": 2, "checks": {"ge": 0}}
    assert keys_in(draft, "depth") == {"type": "float"}


@pytest.mark.parametrize("cells", [["12345678901234.5678", "1.0000"], ["123456789012345678", "1.5678"]])
def test_more_digits_than_a_float_has_are_decimal(cells):
    column = column_of(cells)
    assert (column.type, column.scale) == ("decimal", 4)


def test_words_for_nothing_among_numbers_are_null_everywhere():
    draft = draft_of(table_of({"n": ["1", "NA", "3"], "m": ["-", "2.5", "1"], "word": ["NA", "a", "b"]}))
    contract = contract_in(draft)
    assert contract.format.null_values == ("-", "NA")
    assert [(c.name, c.type, c.nullable) for c in contract.columns[1:]] == [
        ("n", "integer", True),
        ("m", "float", True),
        ("word", "string", True),
    ]
    assert any("they also stand in word" in remark for remark in draft.remarks)


def test_words_among_texts_stay_words():
    draft = draft_of(table_of({"country": ["NA", "DE", "FR"], "mark": ["-", "none", "x"]}))
    assert contract_in(draft).format.null_values == ()
    assert "nullable" not in keys_in(draft, "country")


@pytest.mark.parametrize(
    ("cells", "says"), [(["1.234,56", "2,5"], "commas"), (["1,234.5", "2,000"], "commas"), (['{"a": 1}', "{}"], "JSON")]
)
def test_text_that_holds_more_is_pointed_out(cells, says):
    quoted = ['"' + cell.replace('"', '""') + '"' for cell in cells]
    draft = draft_of(table_of({"x": quoted}))
    assert keys_in(draft, "x") == {"type": "string"}
    assert [says in remark for remark in draft.remarks] == [True]


def test_floats_written_in_full_are_floats():
    assert column_of(["0.1234567890123456", "0.6543210987654321"]).type == "float"


def test_a_column_without_any_cell_is_text_and_a_person_is_told():
    draft = draft_of(table_of({"note": ["", ""], "n": ["1", "2"]}))
    assert keys_in(draft, "note") == {"type": "string", "nullable": True}
    assert draft.remarks == ["note: it is empty in every row"]
