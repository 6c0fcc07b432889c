"""What each process checks before it starts, so that a wrong setting is one line, not the log of a broken server."""

from __future__ import annotations

import errno
import logging
import re
import tempfile
from pathlib import Path

from jobs.errors import BadSetting, ObjectStoreMisset, Unavailable
from jobs.files import disks
from jobs.files.signing import check_signing
from jobs.models import presence
from jobs.models.backends import registry_of
from jobs.models.spec import ModelSpec
from jobs.objects.factory import open_store
from jobs.process import tracing
from jobs.process.folders import make_folder
from jobs.process.log import configure, take_over
from jobs.settings import Settings
from jobs.store.connecting.checks import check_connection
from jobs.store.credentials.api_keys import HOW_TO_MAKE_A_KEY, KeyRing, callers_of
from jobs.store.jobs import JobStore
from jobs.store.layout import check_layout

logger = logging.getLogger(__name__)

#: Longest wait for a bucket, seconds.
_PATIENCE_S = 3.0
#: Errors of a full disk. It may get space again, so processes start and wait for it.
_FULL = (errno.ENOSPC, errno.EDQUOT)


def settings_or_exit() -> Settings:
    """Return the settings of the environment.

    Raises:
        SystemExit: a setting is wrong; the message is one line that names it.
    """
    try:
        return Settings.from_env()
    except BadSetting as exc:
        raise cannot_start(exc) from None


def verified_web_settings() -> Settings:
    """Return the settings of a web server after all checks. Raises: SystemExit: as :func:`settings_or_exit`."""
    settings = settings_or_exit()
    try:
        notes = verify(settings)
        check_open_address(settings)
    except BadSetting as exc:
        raise cannot_start(exc) from None
    configure(settings.process.log_level, settings.process.log_format)
    take_over()
    try:
        check_weights(settings)
    except BadSetting as exc:
        notes.append(f"{exc.message}. The workers that load it do not start")
    log_notes(notes)
    return settings


def check_weights(settings: Settings, slot: str = "") -> None:
    """Check that the folders and classes of the models exist that are loaded on this host.

    Args:
        settings: the models file, and whether models are loaded at all.
        slot: only models that this slot may run; empty: those of every GPU.

    Raises:
        BadSetting: names file, line and key.
    """
    if settings.devoid.test_mode:
        return

    def is_loaded(spec: ModelSpec) -> bool:
        mine = [name for name in spec.slots if name == slot or (not slot and re.fullmatch(r"gpu[0-9]+", name))]
        return bool(mine) or not spec.slots

    presence.check(settings.paths.models_file, is_loaded)


def log_notes(notes: list[str]) -> None:
    """Log what does not keep this process from starting, but will be noticed."""
    for note in notes:
        logger.warning("at start: %s", note)


def cannot_start(exc: BadSetting) -> SystemExit:
    """Return the exit of a process that cannot start; the same line for all processes."""
    return SystemExit(f"cannot start: {exc.message}")


def verify(settings: Settings) -> list[str]:
    """Check what the settings refer to: files, keys, folders, the bucket and Redis.

    Returns:
        A sentence for each thing that does not keep a process from starting, because it may pass or be meant: an object
        store that does not answer yet, a disk that is almost full, ``TEST_MODE``.

    Raises:
        BadSetting: names the setting and what is wrong.
    """
    registry_of(settings)
    callers_of(settings.access.key_entries)
    check_key_names(settings)
    check_folders(settings)
    check_signing(settings.c2pa)
    notes = check_connection(settings)
    check_layout(settings)
    notes += [*check_bucket(settings), *disks.warnings(settings)]
    if tracing.is_missing():
        notes.append("an OTLP endpoint is set, but there are no traces: run make traces")
    if settings.devoid.test_mode:  # the .env of a Devoid Generator has it, where it had no effect
        notes.append("TEST_MODE is set: pictures are drawn, and no model of this server runs")
    return notes


def check_folders(settings: Settings) -> None:
    """Check that this host can write to its folders. Raises: BadSetting."""
    _check_writable("SPOOL_DIR" if settings.spool.dir else "DATA_DIR", settings.spool_disk)
    if not settings.s3.bucket:
        _check_writable("DATA_DIR", settings.paths.objects_dir)
    if settings.embedded_redis:
        _check_writable("DATA_DIR", settings.redis_socket.parent)
    if settings.devoid.save_images_locally and settings.devoid.images_path:
        _check_writable("IMAGES_PATH", settings.devoid.images_path)


def check_bucket(settings: Settings) -> list[str]:
    """Store a file in the bucket and remove it. Raises: BadSetting: only a change of the settings will help."""
    if not settings.s3.bucket:
        return []
    try:
        open_store(settings, patience_s=_PATIENCE_S).check_write()
    except ObjectStoreMisset as exc:
        at = f" at {settings.s3.endpoint_url}" if settings.s3.endpoint_url else ""
        raise BadSetting(f"S3_BUCKET {settings.s3.bucket}{at}: {exc.message}") from exc
    except Unavailable as exc:
        return [f"outputs cannot be stored yet: {exc.message}"]
    return []


def check_key_names(settings: Settings) -> None:
    """Check that no service has two keys, of which each would replace the other. Raises: BadSetting."""
    names = {entry.partition(":")[0] for entry in settings.access.key_entries}
    if twice := names & {name for name, _ in settings.devoid.service_entries}:
        raise BadSetting(f"API_KEYS and SERVICES both have a key for {', '.join(sorted(twice))}: a service has one")


def check_open_address(settings: Settings) -> None:
    """Refuse to listen on other addresses than loopback while there are no keys.

    Raises:
        BadSetting: the message says what to do.
    """
    if settings.web.is_loopback or _names_keys(settings):
        return
    try:
        if not KeyRing(JobStore(settings)).is_empty():
            return
        reason = "there are no keys yet, so anybody who reaches it could use the GPUs"
    except Unavailable as exc:
        reason = f"it is unknown whether there are keys, because {exc.message}"
    raise BadSetting(
        f"HOST {settings.web.host} is refused: {reason}. Start Redis (or everything, on loopback) and "
        f"{HOW_TO_MAKE_A_KEY}, or set API_KEYS"
    )


def has_keys(settings: Settings) -> bool | None:
    """Return whether a web server with these settings has API keys. None: Redis does not answer."""
    if _names_keys(settings):
        return True
    try:
        return not KeyRing(JobStore(settings)).is_empty()
    except Unavailable:
        return None


def _names_keys(settings: Settings) -> bool:
    """Return whether the settings themselves have keys."""
    return bool(settings.access.key_entries or settings.devoid.services)


def _check_writable(setting: str, folder: Path) -> None:
    try:
        make_folder(folder)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".part-"):
            pass
    except OSError as exc:
        if exc.errno not in _FULL:
            raise BadSetting(f"{setting}: the folder {folder} cannot be written: {exc.strerror}") from exc
