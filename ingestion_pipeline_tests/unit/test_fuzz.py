"""The fuzzer for some seconds: the same few cases always, so that a failure is this change's. More: `make fuzz`."""

from ingestion_pipeline_tests.extent import LONG
from ingestion_pipeline_tests.fuzz.__main__ import main


def test_no_damage_makes_a_file_hang_crash_or_change_with_its_pieces(capfd):
    failed = main(["--minutes", "10", "--first", "1", "--count", "600" if LONG else "24"])
    assert not failed, capfd.readouterr().out
