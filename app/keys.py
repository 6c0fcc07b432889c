"""``python -m app.keys``: create, list and revoke API keys on the server's own host, without HTTP and without a key.

Whoever can reach Redis controls the server anyway. The first key can be made here and by ``API_KEYS`` only: a server
without keys would make one for every page that a browser on its host has open.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from jobs.callers import Caller, Role
from jobs.errors import FramemillError, InvalidRequest, Problem
from jobs.settings import CLASSES, Settings
from jobs.store.connecting.checks import check_connection
from jobs.store.credentials import link_secret
from jobs.store.credentials.api_keys import KeyRing
from jobs.store.jobs import JobStore

_service = click.argument("service", metavar="SERVICE")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def keys(context: click.Context) -> None:
    """Create, list and revoke API keys. Needs the settings of the server: run it in the folder of the checkout."""
    settings = Settings.from_env()
    check_connection(settings)
    context.obj = KeyRing(JobStore(settings))


@keys.command()
@_service
@click.option("--role", type=click.Choice([str(role) for role in Role]), default=str(Role.CLIENT), show_default=True,
              help="The first key must be an admin key.")  # fmt: skip
@click.option("--class", "job_class", type=click.Choice(CLASSES), default="general", show_default=True,
              help="Class of the key's jobs.")  # fmt: skip
@click.pass_obj
def create(ring: KeyRing, service: str, role: str, job_class: str) -> None:
    """Create a key for SERVICE (letters, digits, '_' and '-') and print its secret, once."""
    if ring.is_empty() and role != Role.ADMIN:
        raise InvalidRequest(Problem("role", "must be admin for the first key: from then on every request needs a key"))
    click.echo(ring.create(Caller(key_id=service, role=Role(role), job_class=job_class)))
    click.echo("Store it now: it is shown this once only.", err=True)


@keys.command(name="list")
@click.pass_obj
def list_keys(ring: KeyRing) -> None:
    """List the keys, without their secrets."""
    for caller in ring.all():
        click.echo(f"{caller.key_id}\t{caller.role}\t{caller.job_class}")


@keys.command()
@_service
@click.pass_obj
def revoke(ring: KeyRing, service: str) -> None:
    """Revoke the key of SERVICE. The last admin key and the last key stay."""
    ring.revoke(service)
    click.echo(f"the key of {service} was revoked")


@keys.command(name="renew-links")
def renew_links() -> None:
    """Make all signed links invalid that were given out so far."""
    store = JobStore(Settings.from_env())
    if store.settings.access.link_secrets:
        raise InvalidRequest(Problem("LINK_SECRET", "is set: change it there, and restart web servers and io workers"))
    link_secret.renew(store)
    click.echo("links that were signed before are refused within a few seconds")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        keys.main(argv, prog_name="python -m app.keys", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except FramemillError as exc:
        click.echo(f"app.keys: {exc.message}", err=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
