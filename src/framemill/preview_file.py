"""A file that always holds the newest preview of a job, for a viewer that shows what changes."""

from __future__ import annotations

from pathlib import Path

from framemill import wire
from framemill.client import Client
from framemill.records import Status


class PreviewFile:
    """Keeps ``path`` up to date. Each picture replaces the one before, complete.

    Raises (from :meth:`update`):
        OSError: the file cannot be written.
    """

    def __init__(self, client: Client, path: str) -> None:
        self._client = client
        self._path = Path(path)
        self._shown: int | None = None

    def update(self, status: Status) -> None:
        """Fetch the preview that ``status`` tells of, if it is a new one."""
        if status.preview_step in (None, self._shown):
            return
        preview = self._client.preview(status.task_id)
        if preview is None:  # the run has ended meanwhile
            return
        part = wire.part_file(self._path)
        try:
            part.write_bytes(preview.content)
            part.replace(self._path)
        finally:
            part.unlink(missing_ok=True)
        self._shown = status.preview_step
