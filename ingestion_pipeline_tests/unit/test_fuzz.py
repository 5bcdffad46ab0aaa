"""The fuzzer for some seconds: the same few cases always, so that a failure is this change's. More: `make fuzz`."""

import pytest

from ingestion_pipeline_tests.extent import LONG
from ingestion_pipeline_tests.fuzz.__main__ import main
from ingestion_pipeline_tests.fuzz.checks import check


def test_no_damage_makes_a_file_hang_crash_or_change_with_its_pieces(capfd):
    failed = main(["--minutes", "10", "--first", "1", "--count", "600" if LONG else "24"])
    assert not failed, capfd.readouterr().out


_PADDED_AFTER_A_BAD_LINE = (
    b"2,C:\\b.txt,200,300\n1,C:\\a.txt,100\n3,C:\\c.txt,200,300\n4,C:\\d.txt,200,300\n1,C:\\a.txt,100\n,,,\n"
    b"Area,Men,Women,All\nNorth,10,11,21\nSouth,5,6,11\nEast,8,8,16\n\n\nemail\na@x.example\nb@y.example\n"
)
_PADDED_NOTES = (
    b"Day;Men;Women;All\n2018;40966691;42052522;83019213\n2019;41037613;42129098;83166711\n2020;1;2;3\n__________;;;\n"
    b"Results on the basis of the census of 2011.;;;\n;;;\n(c) Statistics, 2021;;;\nAs of: 01.07.2021;;;\n\n\n"
    b"first,last,city\nAnn,Lee,Rome\nBob,Ray,Oslo\n"
)


@pytest.mark.parametrize("chunk_bytes", [1, 10, 40, 100])
@pytest.mark.parametrize("data", [_PADDED_AFTER_A_BAD_LINE, _PADDED_NOTES], ids=["after a bad line", "notes"])
def test_a_table_padded_by_a_spreadsheet_ends_at_the_same_line_whatever_the_chunks(data, chunk_bytes):
    assert check(data, piece=1, chunk_bytes=chunk_bytes) == "read"
