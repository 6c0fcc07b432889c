"""``framemill keys``: create, list and revoke API keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from framemill.cli.commands.server.service import joined
from framemill.cli.context.options import CLASSES, RETENTION, webhook_options
from framemill.cli.context.session import Session, pass_session
from framemill.cli.display.output import note
from framemill.cli.display.tables import Column, table
from framemill.keys import Key

COLUMNS = (Column("service"), Column("role"), Column("class", spare=2), Column("waiting", right=True, spare=3),
           Column("running", right=True, spare=3), Column("per minute", right=True, spare=3),
           Column("models", flexible="wrap", spare=1), Column("endpoints", flexible="wrap", spare=1))  # fmt: skip
service_name = click.argument("service", metavar="SERVICE")


@click.group()
def keys() -> None:
    """Create, list and revoke API keys. Needs an admin key.

    The first one is made on the server's host: python -m app.keys create NAME --role admin.
    """


@keys.command(short_help="Create a key for SERVICE and print its secret, once.")
@service_name
@click.option("--role", type=click.Choice(("client", "worker", "metrics", "admin")),
              help="Default: client.")  # fmt: skip
@click.option("--class", "job_class", type=click.Choice(CLASSES), help="Class of the key's jobs. Default: general.")
@click.option("--retention", type=click.Choice(RETENTION),
              help="How long the files of the key's jobs are kept. Default: the server's setting.")  # fmt: skip
@click.option("--max-waiting", type=int, metavar="N", help="Maximum number of waiting jobs.")
@click.option("--max-running", type=int, metavar="N", help="Maximum number of running jobs.")
@click.option("--max-per-minute", type=int, metavar="N", help="Maximum number of jobs submitted per minute.")
@click.option("--model", "models", multiple=True, metavar="NAME",
              help="Model that the key may use; may be repeated. Default: all models.")  # fmt: skip
@click.option("--endpoint", "endpoints", multiple=True, metavar="PATH",
              help="Path prefix that the key may call; may be repeated. Default: all paths.")  # fmt: skip
@webhook_options("of the key's jobs")
@click.option("--may-skip-moderation", is_flag=True, help="Requests with this key may turn moderation off.")
@pass_session
def create(session: Session, /, service: str, **options: Any) -> None:
    """Create a key for SERVICE (letters, digits, '_' and '-') and print its secret, once."""
    # Options that were not given are left to the server's defaults.
    key = session.client.create_key(service, **{name: _listed(value) for name, value in options.items() if value})
    session.print(key.raw, "\n".join(secret for secret in (key.secret, key.webhook_secret) if secret))
    note(f"key of {key.service}: role {key.role}, class {key.job_class}. Store it now: it is shown this once only.")
    if key.webhook_secret:
        note("The second line is the signing secret of its webhooks, which is also shown this once only.")


@keys.command()
@service_name
@webhook_options("of the key's jobs")
@click.option("--new-secret", is_flag=True,
              help="Create a new signing secret. The previous one also signs until the next renewal.")  # fmt: skip
@click.option("--off", is_flag=True, help="Remove the webhook and its signing secret.")
@pass_session
def webhook(
    session: Session, service: str, webhook_url: str | None, webhook_events: Sequence[str], new_secret: bool, off: bool
) -> None:
    """Set, renew or remove the webhook of the key of SERVICE."""
    client = session.client
    if off:
        client.remove_webhook(service)
        session.print({"service": service, "webhook": None}, "")
        note(f"the webhook of {service} and its secret were removed")
        return
    result = client.set_webhook(service, webhook_url, webhook_events or None, new_secret=new_secret)
    session.print(result, result.get("secret") or "")
    current = result["webhook"]
    note(f"{joined(current['events'])} to {current['url']}" if current else "no webhook; jobs may name their own")
    if result.get("secret"):
        note("The secret signs the webhooks. Store it now: it is shown this once only.")


@keys.command(name="list")
@pass_session
def list_keys(session: Session) -> None:
    """List the keys, without their secrets."""
    found = session.client.keys()
    rows = [_row(key) for key in found]
    session.print({"keys": [key.raw for key in found]}, table(COLUMNS, rows) if rows else "")
    if not rows:
        session.note("there are none: everybody who can reach the server may administer it")


@keys.command()
@service_name
@pass_session
def revoke(session: Session, service: str) -> None:
    """Revoke the key of SERVICE."""
    session.client.revoke_key(service)
    session.print({"service": service, "revoked": True}, f"the key of {service} was revoked")


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _row(key: Key) -> tuple[str, ...]:
    limits = (str(limit or "-") for limit in (key.max_waiting, key.max_running, key.max_per_minute))
    return (
        key.service,
        key.role,
        key.job_class,
        *limits,
        joined(key.models) or "all",
        joined(key.endpoints) or "all",
    )
