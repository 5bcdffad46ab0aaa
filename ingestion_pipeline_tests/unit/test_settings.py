"""Settings: where values come from, which one wins, and that secrets do not show."""

import traceback
from pathlib import Path

import pytest

from ingestion_pipeline.embedded.site import env_file_text
from ingestion_pipeline.errors import ConfigurationError
from ingestion_pipeline.settings import DATA_DIR_VARIABLE, Settings, load_settings


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path))
    for name in Settings.model_fields:
        monkeypatch.delenv(f"INGESTION_{name.upper()}", raising=False)
    return tmp_path


def test_without_anything_set_the_defaults_hold(data_dir: Path) -> None:
    assert load_settings() == Settings()


def test_a_running_stack_is_found_by_its_file_and_the_environment_wins_over_it(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data_dir / "stack.env").write_text("INGESTION_S3_BUCKET=from-file\nINGESTION_S3_REGION=from-file\n")
    monkeypatch.setenv("INGESTION_S3_REGION", "from-environment")

    values = load_settings()

    assert (values.s3_bucket, values.s3_region) == ("from-file", "from-environment")


def test_the_file_that_the_stack_writes_is_read_back_as_it_is(data_dir: Path) -> None:
    secret = "with $dollar, #hash, =, \\ and spaces"
    (data_dir / "stack.env").write_text(env_file_text({"INGESTION_S3_SECRET_ACCESS_KEY": secret}))

    found = load_settings().s3_secret_access_key

    assert found is not None
    assert found.get_secret_value() == secret


def test_an_empty_variable_counts_as_not_set(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGESTION_S3_ENDPOINT_URL", "")
    monkeypatch.setenv("INGESTION_MAX_TRIES", "")
    (data_dir / "stack.env").write_text("INGESTION_S3_ACCESS_KEY_ID=\n")
    assert load_settings() == Settings()
    assert load_settings().s3_endpoint_url is None


def test_the_example_is_read_with_what_it_leaves_empty_not_set(data_dir: Path) -> None:
    (data_dir / "stack.env").write_bytes((Path(__file__).parents[2] / ".env.example").read_bytes())
    values = load_settings()
    assert (values.s3_bucket, values.s3_endpoint_url, values.s3_access_key_id) == ("ingestion", None, None)


def test_a_value_of_the_wrong_type_is_named_and_not_repeated(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGESTION_BATCH_MAX_FILES", "many")
    with pytest.raises(ConfigurationError, match="INGESTION_BATCH_MAX_FILES") as raised:
        load_settings()
    assert "many" not in "".join(traceback.format_exception(raised.value))


def test_no_secret_shows_when_settings_are_printed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
    for name in secrets:
        monkeypatch.setenv(f"INGESTION_{name.upper()}", "hush-hush")

    values = load_settings()

    assert {"ledger_url", "s3_secret_access_key", "druid_password"} <= set(secrets)
    assert "hush" not in repr(values) + str(values.model_dump()) + values.model_dump_json()


def test_what_is_not_a_secret_by_type_has_no_secret_by_name() -> None:
    plain = [name for name, field in Settings.model_fields.items() if "SecretStr" not in str(field.annotation)]
    assert not [name for name in plain if any(word in name for word in ("password", "secret", "token", "_key"))]
