"""Options of single protocols."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import BadSetting
from jobs.settings.option import Group, one_of, option


@dataclass(frozen=True, kw_only=True)
class LightX2VOptions(Group):
    """LightX2V's service."""

    #: Which of its versions is served: ``queue`` (the newest) or ``single`` (as its documents describe it).
    profile: str = option("LIGHTX2V_PROFILE", "queue", one_of("queue", "single"))
    #: Kind of a request that names neither model nor kind: ``text2img`` or ``text2video``.
    bare_prompt_kind: str = option("BARE_PROMPT_KIND", "text2img", one_of("text2img", "text2video"))

    def bare_kind(self, *, with_image: bool) -> str | None:
        """Kind of a request that names neither model nor kind; None: the first of the models file."""
        if self.bare_prompt_kind == "text2img":
            return None
        return "img2video" if with_image else self.bare_prompt_kind


@dataclass(frozen=True, kw_only=True)
class DevoidOptions(Group):
    """Devoid Generator's socket."""

    #: Services that work through sockets, with their keys: ``name:key``, separated by blanks.
    services: str = option("SERVICES", "", secret=True)
    #: Prefix of ``<object_id>.jpg`` in links. Empty: this server's ``/img/``.
    image_endpoint: str = option("S3_IMAGE_ENDPOINT", "")
    #: Whether images are also written to ``IMAGES_PATH``.
    save_images_locally: bool = option("SAVE_IMAGES_LOCALLY", False)
    #: A folder of images that ``/img/`` serves, too. Empty: none.
    images_path: Path | None = option("IMAGES_PATH", None)
    #: Model of jobs for ``automatic1111`` that name none. Empty: the first that offers the kind.
    automatic1111_model: str = option("AUTOMATIC1111_MODEL", "")
    #: Model of jobs for ``kandinsky``. Empty: the first that offers the kind.
    kandinsky_model: str = option("KANDINSKY_MODEL", "")
    #: Draw a picture instead of running the models, for tests without a GPU.
    test_mode: bool = option("TEST_MODE", False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}:\S+", entry) for entry in self.services.split()):
            raise BadSetting("SERVICES must be name:key pairs separated by blanks")
        if self.save_images_locally and not self.images_path:
            raise BadSetting("SAVE_IMAGES_LOCALLY needs IMAGES_PATH")

    @property
    def service_entries(self) -> list[tuple[str, str]]:
        """Name and key of each service."""
        pairs = [entry.partition(":") for entry in self.services.split()]
        return [(name, secret) for name, _, secret in pairs]
