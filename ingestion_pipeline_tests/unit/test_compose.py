"""docker-compose.yml and the image: no secret inside, nothing open to the network, the same packages everywhere."""

import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"prepare"}
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)(:\?[^}]+|:-[^}]*)?\}")


def pins(lock: str) -> dict[str, tuple[str, str]]:
    found = re.findall(
        r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==([^ ;\\]+)([^\\\n]*)", (ROOT / lock).read_text(), re.MULTILINE
    )
    return {name.lower(): (version, marker.strip()) for name, version, marker in found}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check_and_comes_back(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOT:
        assert service["restart"] == "no"
    else:
        assert service["healthcheck"]["test"]
        assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_every_secret_comes_from_the_environment_and_is_demanded(name: str) -> None:
    # A name's last word: INGESTION_S3_SECRET_ACCESS_KEY, druid_s3_secretKey.
    secret = re.compile(r"(PASSWORD|SECRET|KEY|KEY_ID|password|accessKey|secretKey)$")
    for variable, value in SERVICES[name].get("environment", {}).items():
        if variable.startswith("druid_") and secret.search(variable):
            assert '"type":"environment"' in value, "the image prints druid_ variables to its log"
        elif secret.search(variable) or re.search(r"://[^/]*@", value):
            assert re.search(r"\$\{[A-Z0-9_]+:\?", value), f"{variable} must come from .env"


def test_only_the_one_shot_service_may_act_as_the_ledgers_owner() -> None:
    holders = {name for name, service in SERVICES.items() if "INGESTION_LEDGER_OWNER_URL" in service["environment"]}
    assert holders == {"prepare"}


def test_the_generated_env_file_answers_every_variable_and_is_private(tmp_path: Path) -> None:
    target = tmp_path / ".env"
    subprocess.run([ROOT / "deploy" / "make-env", target], check=True, capture_output=True)
    written = target.read_text()
    subprocess.run([ROOT / "deploy" / "make-env", target], check=True, capture_output=True)
    assert target.read_text() == written, "the passwords of existing data are kept"
    values = dict(line.split("=", 1) for line in written.splitlines() if line and not line.startswith("#"))
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    asked = {name for name, _ in VARIABLE.findall((ROOT / "docker-compose.yml").read_text())}
    left_to_people = set(re.findall(r"^#([A-Z0-9_]+)=", written, flags=re.M))
    assert asked == set(values) | left_to_people
    random = [value for name, value in values.items() if re.search(r"PASSWORD|KEY", name)]
    assert len(set(random)) == len(random) == 8
    assert all(re.fullmatch(r"[0-9a-f]{48}", value) for value in random)


def test_every_declared_volume_is_used_and_every_used_one_declared() -> None:
    used = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if not volume.startswith((".", "$"))
    }
    assert used == set(COMPOSE["volumes"])


def test_the_image_installs_the_versions_that_the_tests_run_with() -> None:
    image, tested = pins("deploy/requirements.lock"), pins("requirements.lock")
    assert {"dagster", "polars", "requests"} <= set(image)
    for name, (version, marker) in image.items():
        if name in tested:
            assert tested[name][0] == version
        else:
            assert "win32" in marker, f"{name} is in the image's lock only"


def test_the_image_copies_only_what_its_ignore_file_lets_in() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for source in " ".join(copied).split():
        assert source in allowed
