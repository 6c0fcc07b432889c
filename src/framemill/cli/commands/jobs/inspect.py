"""``framemill inspect``: show how an image or video was made."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import click
import httpx2

from framemill import inspection
from framemill.cli.context.session import Session, pass_session
from framemill.errors import NoMetadata

#: Ids of jobs. File names contain a dot before their extension.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@click.command()
@click.argument("name", metavar="FILE")
@click.option("--index", type=int, default=0, show_default=True, metavar="N", help="Index of the job's output.")
@pass_session
def inspect(session: Session, name: str, index: int) -> None:
    """Show the metadata in FILE: a file, an http(s) link, or the id of a job."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "download"
        if name.startswith(("http://", "https://")):
            _download(name, path)
        elif _ID.fullmatch(name) and not Path(name).exists():
            session.client.result(name, path, index)
        else:
            path = Path(name)
        try:
            metadata = inspection.read_metadata(path)
        except NoMetadata as exc:
            raise NoMetadata(str(exc).replace(str(path), name)) from None
    # The stored seed is that of the job's first image. Show the seeds that reproduce this image alone.
    fields = {**metadata.request, **metadata.image_seeds}
    text = "\n".join(f"{field:18}{value}" for field, value in fields.items()) or metadata.parameters
    session.print(dict(metadata.request) or {"parameters": metadata.parameters}, text)


def _download(link: str, path: Path) -> None:
    """Download a file. Raises: OSError: the download failed."""
    try:
        with httpx2.stream("GET", link, follow_redirects=True, timeout=30) as response, path.open("wb") as file:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                file.write(chunk)
    except (httpx2.HTTPError, httpx2.InvalidURL) as exc:
        raise OSError(f"{link} cannot be downloaded: {exc}") from exc
