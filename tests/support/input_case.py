"""``store_image`` with a real folder and a real Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.media.inputs import store_image
from jobs.errors import InvalidRequest
from jobs.objects.local import LocalStore
from jobs.settings import Settings
from jobs.store.jobs import JobStore


class Store(LocalStore):
    """Counts the files that it writes."""

    writes = 0

    def put_bytes(self, key: str, data: bytes, media_type: str) -> None:
        self.writes += 1
        super().put_bytes(key, data, media_type)


class Case:
    """Stores inputs below ``folder``."""

    def __init__(self, folder: Path, records: JobStore) -> None:
        self.records = records
        self.settings = Settings.of(
            data_dir=Path("/tmp"), input_url_allow="other.example, 127.0.0.1", max_input_bytes=500_000
        )
        self.folder = folder
        self.objects = Store(folder)

    def store(
        self, value: object, field: str = "image", *, repainted: str = "", inverted: bool = False,
        max_side_px: int = 0, **settings: object,
    ) -> str:  # fmt: skip
        return store_image(
            value,  # type: ignore[arg-type]
            settings=self.settings.replace(**settings),
            objects=self.objects,
            records=self.records,
            field=field,
            repainted=repainted,
            inverted=inverted,
            max_side_px=max_side_px,
        ).key

    def content(self, key: str) -> bytes:
        return b"".join(self.objects.read(key))

    def refused(self, value: object, **settings: object) -> str:
        """Return the rule that was broken; check that nothing was stored."""
        with pytest.raises(InvalidRequest) as caught:
            self.store(value, **settings)
        (problem,) = caught.value.problems
        assert problem.field == "image"
        assert len(str(problem.value)) <= 80 or str(problem.value).startswith("http")
        assert not self.folder.exists() or not any(self.folder.rglob("*"))
        return problem.rule
