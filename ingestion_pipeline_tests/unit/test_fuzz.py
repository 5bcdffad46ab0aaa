"""The fuzzer for some seconds: always the same cases, so that a failure is this change's."""

from ingestion_pipeline_tests.fuzz.__main__ import main


def test_no_damage_makes_a_file_hang_crash_or_change_with_its_pieces(capfd):
    failed = main(["--minutes", "0.3", "--first", "1"])
    assert not failed, capfd.readouterr().out
