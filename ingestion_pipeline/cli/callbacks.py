"""Commands `callbacks …`: who is told what became of files, and what became of the telling.

What belongs here: their options and what people see. What does not: the tables (`adapters.postgres_callbacks`),
the request (`adapters.callback`), when deliveries are tried (`stages.deliver`).
"""

import random
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import uuid4

import typer

from ingestion_pipeline.cli.callback_tables import endpoints_table, log_table, print_delivery
from ingestion_pipeline.cli.connections import Connections, connected
from ingestion_pipeline.cli.jobs import find_job
from ingestion_pipeline.cli.output import AsJson, console, json_text, moment
from ingestion_pipeline.cli.send import known_organization
from ingestion_pipeline.domain.callback import DEFAULT_EVENTS, DeliveryState, events_named
from ingestion_pipeline.domain.callback_signature import SECRET_BYTES, secret_of
from ingestion_pipeline.domain.orders import SHORT_ID
from ingestion_pipeline.errors import ConfigurationError

app = typer.Typer(help="Tell organizations' own services what became of their files.", no_args_is_help=True)

Endpoint = Annotated[str, typer.Argument(metavar="ENDPOINT", help="Its id, or the beginning of it.")]

_ID_PREFIX = re.compile(r"[0-9a-f]{4}[0-9a-f-]{0,32}")


@app.command()
def add(
    organization: Annotated[str, typer.Argument(help="Whose files' events it gets.")],
    url: Annotated[str, typer.Argument(help="https://…, where the receiver takes POST requests.")],
    events: Annotated[
        list[str] | None,
        typer.Option(
            "--events", "-e", help="completed,failed,…, as often as needed; all; default: all but job.created, "
            "job.processing and job.retrying.",
        ),
    ] = None,
    datasource: Annotated[
        list[str] | None, typer.Option("--datasource", "-d", help="Only its events, as often as needed; default: any.")
    ] = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Add an endpoint; prints its secret, once."""
    chosen = events_named(events) if events else DEFAULT_EVENTS
    endpoint_id, secret = str(uuid4()), _new_secret()
    with connected() as systems:
        problem = systems.callback.problem(url)
        known_organization(organization, systems.ledger.discovery.organizations())
        systems.ledger.callbacks.add(
            endpoint_id=endpoint_id,
            organization=organization,
            url=url,
            events=chosen,
            datasources=datasource or None,
            secret=secret,
            now=datetime.now(UTC),
        )
    if problem:
        typer.secho(
            f"Deliveries to it will be refused: {problem}. If that is meant, name it in INGESTION_CALLBACK_ALLOWED.",
            fg=typer.colors.YELLOW,
            err=True,
        )
    if as_json:
        told = {"endpoint_id": endpoint_id, "organization": organization, "url": url, "events": chosen}
        typer.echo(json_text({**told, "datasources": datasource or None, "secret": secret, "problem": problem}))
        return
    typer.echo(f"Endpoint {endpoint_id[:SHORT_ID]} gets {', '.join(chosen)}.")
    _print_secret(secret)
    typer.echo(f"Try it: `ingestion-pipeline callbacks test {endpoint_id[:SHORT_ID]}`.")


@app.command(name="list")
def list_(
    organization: Annotated[str | None, typer.Option("--organization", "-o")] = None, as_json: AsJson = False
) -> None:
    """List endpoints, with what waits for each."""
    with connected() as systems:
        found = systems.ledger.callbacks.endpoints(organization=organization, now=datetime.now(UTC))
    if as_json:
        typer.echo(json_text(found))
    elif found:
        console().print(endpoints_table(found))
    else:
        typer.echo("None yet: `ingestion-pipeline callbacks add ORGANIZATION URL`.")


@app.command()
def enable(endpoint: Endpoint, as_json: AsJson = False) -> None:
    """Send to an endpoint again; what was parked meanwhile is sent by `redeliver`."""
    with connected() as systems:
        found = _endpoint(systems, endpoint)
        systems.ledger.callbacks.enable(found["endpoint_id"])
        _say(systems, found, as_json=as_json)


@app.command()
def disable(endpoint: Endpoint, as_json: AsJson = False) -> None:
    """Send nothing to an endpoint; what waits for it and what comes is parked."""
    with connected() as systems:
        found = _endpoint(systems, endpoint)
        systems.ledger.callbacks.disable(found["endpoint_id"], reason="By command.", now=datetime.now(UTC))
        _say(systems, found, as_json=as_json)


@app.command()
def remove(endpoint: Endpoint, as_json: AsJson = False) -> None:
    """Remove an endpoint and its secrets; the log of its deliveries stays for as long as logs are kept."""
    with connected() as systems:
        found = _endpoint(systems, endpoint)
        systems.ledger.callbacks.remove(found["endpoint_id"], now=datetime.now(UTC))
        _say(systems, found, as_json=as_json)


@app.command(name="rotate-secret")
def rotate_secret(
    endpoint: Endpoint,
    keep_old: Annotated[
        float, typer.Option("--keep-old", min=0, max=24 * 30, help="Hours for which deliveries carry both signatures.")
    ] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Make a new secret and print it, once; the old one stays valid for a while."""
    secret, now = _new_secret(), datetime.now(UTC)
    until = now + timedelta(hours=keep_old)
    with connected() as systems:
        found = _endpoint(systems, endpoint)
        systems.ledger.callbacks.rotate_secret(
            found["endpoint_id"], secret=secret, keep_old=timedelta(hours=keep_old), now=now
        )
    if as_json:
        typer.echo(json_text({"endpoint_id": found["endpoint_id"], "secret": secret, "old_valid_until": until}))
        return
    _print_secret(secret)
    typer.echo(f"Deliveries are signed with the old one, too, until {moment(until)}.")


@app.command(name="test")
def try_(endpoint: Endpoint, as_json: AsJson = False) -> None:
    """Send one delivery of type callback.test from here, now; exit code 1 if it is not taken."""
    from ingestion_pipeline.stages.deliver import LEASE_SECONDS, send

    def clock() -> datetime:
        return datetime.now(UTC)

    with connected() as systems:
        found = _endpoint(systems, endpoint)
        delivery = systems.ledger.callbacks.begin_test(
            found["endpoint_id"], key=f"test-{uuid4()}", now=clock(), lease_seconds=LEASE_SECONDS
        )
        answer, verdict = send(
            delivery,
            outbox=systems.ledger.deliveries,
            sender=systems.callback,
            clock=clock,
            jitter=random.random,
            once=True,
        )
    if as_json:
        typer.echo(
            json_text(
                {
                    "delivery_id": delivery.delivery_id,
                    "delivered": verdict.delivered,
                    "status": answer.status,
                    "error": answer.error,
                    "body": answer.body,
                    "duration_ms": round(answer.duration_seconds * 1000),
                }
            )
        )
    elif verdict.delivered:
        typer.echo(f"Delivered: it answered {answer.status} in {answer.duration_seconds:.2f} s.")
    else:
        typer.secho(f"Not delivered: {answer.error or f'it answered {answer.status}'}.", fg=typer.colors.RED, err=True)
        typer.echo(f"  `ingestion-pipeline callbacks log {delivery.delivery_id[:SHORT_ID]}` has its answer.", err=True)
    raise typer.Exit(0 if verdict.delivered else 1)


@app.command()
def log(
    delivery: Annotated[
        str | None, typer.Argument(metavar="DELIVERY", help="One, with every try; the beginning of its id is enough.")
    ] = None,
    *,
    organization: Annotated[str | None, typer.Option("--organization", "-o")] = None,
    endpoint: Annotated[str | None, typer.Option("--endpoint", "-e", help="Its id, or the beginning of it.")] = None,
    job: Annotated[str | None, typer.Option("--job", "-j", help="A job, as for `status`.")] = None,
    state: Annotated[DeliveryState | None, typer.Option("--state", "-s")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000)] = 30,
    as_json: AsJson = False,
) -> None:
    """Show deliveries, newest first, with what the receiver answered last."""
    with connected() as systems:
        ledger = systems.ledger.callbacks
        if delivery is not None:
            found = _delivery(systems, delivery)
            found["all_tries"] = ledger.tries(found["delivery_id"])
            if as_json:
                typer.echo(json_text(found))
            else:
                print_delivery(found)
            return
        rows = ledger.log(
            organization=organization,
            endpoint_id=_endpoint(systems, endpoint, removed=True)["endpoint_id"] if endpoint else None,
            job_id=find_job(systems, job)["job_id"] if job else None,
            state=state,
            limit=limit,
        )
    if as_json:
        typer.echo(json_text(rows))
    elif rows:
        console().print(log_table(rows))
    else:
        typer.echo("No such deliveries.")


@app.command()
def redeliver(
    delivery: Annotated[
        str | None, typer.Argument(metavar="DELIVERY", help="One, whatever became of it; the beginning of its id.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option("--endpoint", "-e", help="All of it that are parked or wait for their next try.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send deliveries again, with the ids that they had: one, or all that an endpoint has not taken."""
    if (delivery is None) == (endpoint is None):
        raise typer.BadParameter("Name a delivery, or an endpoint with --endpoint.")
    with connected() as systems:
        one = _delivery(systems, delivery) if delivery is not None else None
        found = _endpoint(systems, one["endpoint_id"] if one else str(endpoint), removed=True)
        if found["state"] != "enabled":
            raise ConfigurationError(
                f"Endpoint {found['endpoint_id'][:SHORT_ID]} is {found['state']}.",
                hint=f"First `ingestion-pipeline callbacks enable {found['endpoint_id'][:SHORT_ID]}`."
                if found["state"] == "disabled"
                else "Add it again to tell its receiver of what comes from now on.",
            )
        count = systems.ledger.callbacks.redeliver(
            found["endpoint_id"], delivery_id=one["delivery_id"] if one else None, now=datetime.now(UTC)
        )
    if as_json:
        typer.echo(json_text({"endpoint_id": found["endpoint_id"], "deliveries": count}))
    else:
        typer.echo(f"{count:,} {'delivery' if count == 1 else 'deliveries'} will be sent within seconds.")


def _new_secret() -> str:
    return secret_of(secrets.token_bytes(SECRET_BYTES))


def _print_secret(secret: str) -> None:
    typer.echo(f"Secret: {secret}")
    typer.echo("It is shown only now: give it to the receiver, which verifies signatures with it.")


def _endpoint(systems: Connections, text: str, *, removed: bool = False) -> dict[str, Any]:
    """The one endpoint that is meant.

    Raises:
        ConfigurationError: None or several are.
    """
    found = (
        systems.ledger.callbacks.endpoints(id_prefix=text.lower(), removed=removed, now=datetime.now(UTC))
        if _ID_PREFIX.fullmatch(text.lower())
        else []
    )
    if len(found) != 1:
        listed = ", ".join(f"{each['endpoint_id'][:13]} ({each['organization']})" for each in found[:5])
        raise ConfigurationError(
            f"'{text}' could be {listed}." if found else f"There is no endpoint '{text}'.",
            hint="Give its id (4 characters or more): `ingestion-pipeline callbacks list`.",
        )
    return found[0]


def _delivery(systems: Connections, text: str) -> dict[str, Any]:
    """The one delivery that is meant.

    Raises:
        ConfigurationError: None or several are.
    """
    digits = text.lower().replace("-", "")
    found: Sequence[dict[str, Any]] = []
    if _ID_PREFIX.fullmatch(text.lower()) and len(digits) <= 32:
        ends = (digits.ljust(32, "0"), digits.ljust(32, "f"))
        found = systems.ledger.callbacks.log(id_range=ends, limit=2)
    if len(found) != 1:
        raise ConfigurationError(
            f"'{text}' could be several deliveries." if found else f"There is no delivery '{text}'.",
            hint="Give more of its id: `ingestion-pipeline callbacks log`.",
        )
    return found[0]


def _say(systems: Connections, before: dict[str, Any], *, as_json: bool) -> None:
    """What an endpoint is now."""
    (now,) = systems.ledger.callbacks.endpoints(id_prefix=before["endpoint_id"], removed=True, now=datetime.now(UTC))
    if as_json:
        typer.echo(json_text(now))
        return
    id_ = now["endpoint_id"][:SHORT_ID]
    typer.echo(f"Endpoint {id_} is {now['state']}.")
    if now["state"] == "enabled" and now["parked"]:
        typer.echo(
            f"{now['parked']:,} of its deliveries are parked: `ingestion-pipeline callbacks redeliver -e {id_}`."
        )
