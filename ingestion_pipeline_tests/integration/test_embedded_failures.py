"""What goes wrong with the embedded stack, on real servers: one clear error, nothing left running."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL
from typing import Any

import boto3
import psutil
import psycopg
import pytest

from ingestion_pipeline.embedded import postgres, processes, site
from ingestion_pipeline.embedded import stack as stack_module
from ingestion_pipeline.embedded.stack import Stack
from ingestion_pipeline.errors import StackError

STORES = ["postgres", "s3"]


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stack]:
    """PostgreSQL and S3 of their own, so that a test may break them."""
    stack = Stack(tmp_path / "stack", use_free_ports=True)
    yield stack
    stack.down()


def _bucket(stack: Stack) -> Any:
    variables = stack.environment()
    return boto3.resource(
        "s3",
        endpoint_url=variables["INGESTION_S3_ENDPOINT_URL"],
        region_name=variables["INGESTION_S3_REGION"],
        aws_access_key_id=variables["INGESTION_S3_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["INGESTION_S3_SECRET_ACCESS_KEY"],
    ).Bucket(variables["INGESTION_S3_BUCKET"])


def _running(stack: Stack) -> list[str]:
    return [status.service for status in stack.status() if status.pid is not None]


def _write_state(stack: Stack) -> None:
    with postgres.connect(stack.site) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    _bucket(stack).put_object(Key="kept", Body=b"forty-two")


def _assert_state(stack: Stack) -> None:
    with postgres.connect(stack.site) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    assert _bucket(stack).Object("kept").get()["Body"].read() == b"forty-two"


def test_a_taken_port_is_named_with_its_holder_and_nothing_stays_up(stores: Stack) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", stores.site.ports["postgres"]))
        taken.listen()
        with pytest.raises(StackError, match=r"postgres cannot start: port \d+ is taken by .+ \(pid \d+\)") as caught:
            stores.up(only=STORES)
    assert str(os.getpid()) in caught.value.message
    assert "--free-ports" in caught.value.hint
    assert _running(stores) == []


def test_a_taken_port_is_left_for_others_when_any_will_do(stores: Stack) -> None:
    first = stores.site.ports["postgres"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        again = Stack(stores.root, use_free_ports=True)
        again.up(only=["postgres"])
        assert again.site.ports["postgres"] != first


def test_a_service_that_dies_shows_its_last_words_and_the_others_are_stopped(stores: Stack) -> None:
    stores.up(only=STORES)
    stores.down()
    with (stores.root / "postgres" / "postgresql.conf").open("a") as config:
        config.write("no_such_setting = 1\n")
    with pytest.raises(StackError, match="postgres ended while it started") as caught:
        stores.up(only=STORES)
    assert "no_such_setting" in caught.value.message
    assert caught.value.details["service"] == "postgres"
    assert _running(stores) == []


def test_what_ran_before_a_failed_start_goes_on(stores: Stack) -> None:
    stores.up(only=["s3"])
    pid = stores.pid("s3")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", stores.site.ports["postgres"]))
        taken.listen()
        with pytest.raises(StackError, match="is taken"):
            stores.up(only=STORES)
    assert stores.pid("s3") == pid


def test_state_survives_stop_and_start(stores: Stack) -> None:
    stores.up(only=STORES)
    _write_state(stores)
    assert set(stores.down()) == set(STORES)
    assert _running(stores) == []
    again = Stack(stores.root)
    assert again.site.ports == stores.site.ports
    again.up(only=STORES)
    _assert_state(again)


def test_state_survives_the_death_of_every_process(stores: Stack) -> None:
    stores.up(only=STORES)
    _write_state(stores)
    killed = [process for record in site.load_processes(stores.root).values() for process in processes.family(record)]
    for process in killed:
        process.send_signal(SIGKILL)
    psutil.wait_procs(killed, timeout=30)  # a signal is sent before it has worked
    assert [status.state for status in stores.status() if status.service in STORES] == ["dead", "dead"]
    Stack(stores.root).up(only=STORES)
    _assert_state(stores)


def test_pid_files_that_name_a_stranger_stop_nothing(stores: Stack) -> None:
    stores.up(only=["postgres"])
    pid = stores.pid("postgres")
    assert pid is not None
    pid_file = stores.root / "postgres" / "postmaster.pid"
    text = pid_file.read_text()
    stores.kill("postgres")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        # As if the machine had restarted and given PostgreSQL's pid to another program.
        pid_file.write_text(text.replace(str(pid), str(stranger.pid), 1))
        record = site.load_processes(stores.root)["postgres"]
        reused = processes.ProcessRecord(**{**record.as_dict(), "pid": stranger.pid, "created": record.created - 60})
        site.save_processes(stores.root, {"postgres": reused})
        assert stores.pid("postgres") is None
        stores.up(only=["postgres"])
        stores.down()
        assert stranger.poll() is None
        stranger.kill()


def test_a_second_up_changes_nothing(stores: Stack) -> None:
    stores.up(only=STORES)
    pids = [stores.pid(name) for name in STORES]
    assert Stack(stores.root).up(only=STORES).seconds < 10
    assert [stores.pid(name) for name in STORES] == pids


def test_a_killed_service_comes_back_by_restart_and_the_others_stay(stores: Stack) -> None:
    stores.up(only=STORES)
    other, before = stores.pid("s3"), stores.pid("postgres")
    stores.kill("postgres")
    assert stores.pid("postgres") is None
    stores.restart("postgres")
    assert stores.pid("postgres") not in (None, before)
    assert stores.pid("s3") == other


def test_status_for_machines_tells_what_runs(stores: Stack) -> None:
    stores.up(only=["postgres"])
    outcome = subprocess.run(
        [sys.executable, "-m", "ingestion_pipeline.cli.main", "status", "--json"],
        env={**os.environ, "INGESTION_DATA_DIR": str(stores.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    states = {service["service"]: service["state"] for service in json.loads(outcome.stdout)}
    assert outcome.returncode == 1
    assert (states["postgres"], states["s3"]) == ("ready", "stopped")


def test_a_full_disk_is_said_before_anything_starts(stores: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    real = stack_module.shutil.disk_usage(stores.root.parent)
    monkeypatch.setattr(stack_module.shutil, "disk_usage", lambda path: real._replace(free=1024**2))
    with pytest.raises(StackError, match="has 1 MB left"):
        stores.up(only=STORES)
    assert _running(stores) == []


def test_other_ports_are_refused_while_the_stack_runs(stores: Stack) -> None:
    stores.up(only=["postgres"])
    with pytest.raises(StackError, match="runs with other ports"):
        Stack(stores.root, ports={"s3": 12001}).up(only=["s3"])


def test_servers_listen_on_loopback_only_and_s3_refuses_strangers(stores: Stack) -> None:
    import requests

    stores.up(only=STORES)
    ours = {process.pid for record in site.load_processes(stores.root).values() for process in processes.family(record)}
    listening = [c for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN and c.pid in ours]
    assert {connection.laddr.ip for connection in listening} <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert len(listening) >= 2
    _bucket(stores).put_object(Key="private", Body=b"x")
    ports = stores.site.ports
    for address in (
        f"http://127.0.0.1:{ports['s3']}/ingestion/private",
        f"http://127.0.0.1:{ports['s3-filer']}/buckets/ingestion/private",
    ):
        assert requests.get(address, timeout=5).status_code in (401, 403)


def test_passwords_are_needed_and_secrets_stay_private(stores: Stack) -> None:
    stores.up(only=["postgres"])
    url = f"postgresql://postgres:wrong@127.0.0.1:{stores.site.ports['postgres']}/postgres"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url)
    for name in ("credentials.json", "stack.env", "ports.json", "processes.json"):
        assert (stores.root / name).stat().st_mode & 0o077 == 0
    secrets = stores.site.credentials.postgres.values()
    assert not any(secret in stores.log_file("postgres").read_text() for secret in secrets)
