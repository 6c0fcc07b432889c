"""Who calls: roles, and what a caller may do."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from jobs.errors import InvalidRequest, Problem
from jobs.settings import RETENTION_CLASSES

CLASSES = ("premium", "general")
#: The key id of callers on a server without keys.
NOBODY = "-"


class Role(StrEnum):
    """What a key is for."""

    #: Submits jobs; sees and stops its own.
    CLIENT = "client"
    #: A worker that pulls jobs over HTTP.
    WORKER = "worker"
    #: Everything, all jobs included.
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who a request comes from."""

    #: Name of the service the key was made for; jobs belong to it. Letters, digits, ``_`` and ``-``.
    key_id: str
    role: Role = Role.CLIENT
    #: Scheduling class of its jobs unless they say otherwise.
    job_class: str = "general"
    #: How long files of its jobs are kept unless they say otherwise; empty: as the settings say.
    retention: str = ""
    #: Most jobs that may wait, run at once, and be submitted in a minute; 0: no limit.
    max_waiting: int = 0
    max_running: int = 0
    max_per_minute: int = 0
    #: Models it may use; empty: all.
    models: tuple[str, ...] = ()
    #: Beginnings of paths it may call; empty: all.
    endpoints: tuple[str, ...] = ()
    #: Whether its requests may turn moderation off.
    may_skip_moderation: bool = False

    @property
    def is_admin(self) -> bool:
        return self.role is Role.ADMIN

    @property
    def scope(self) -> str | None:
        """The key whose jobs it sees; None: all jobs."""
        return None if self.is_admin else self.key_id

    def owns(self, key_id: str) -> bool:
        """Whether it may see and stop that key's jobs."""
        return self.is_admin or key_id == self.key_id

    def check(self) -> Caller:
        """Raises: InvalidRequest."""
        problems = []
        if not self.key_id or len(self.key_id) > 64 or not self.key_id.replace("-", "").replace("_", "").isalnum():
            problems.append(Problem("service", "must be 1 to 64 letters, digits, '_' or '-'", self.key_id))
        elif not self.key_id.isascii() or self.key_id == NOBODY:
            problems.append(Problem("service", "must be ASCII and not just '-'", self.key_id))
        if self.job_class not in CLASSES:
            problems.append(Problem("class", f"must be one of {', '.join(CLASSES)}", self.job_class))
        if self.retention and self.retention not in RETENTION_CLASSES:
            rule = f"must be one of {', '.join(RETENTION_CLASSES)}"
            problems.append(Problem("retention", rule, self.retention))
        for name in ("max_waiting", "max_running", "max_per_minute"):
            if getattr(self, name) < 0:
                problems.append(Problem(name, "must not be negative", getattr(self, name)))
        if problems:
            raise InvalidRequest(*problems)
        return self


#: Callers of a server without keys (it is bound to loopback then): one anonymous service that may do everything.
ANYBODY = Caller(key_id=NOBODY, role=Role.ADMIN)


def digest_of(secret: str) -> str:
    """What is kept of a secret."""
    # Secrets are 256 random bits, so a plain hash is enough; salts and stretching protect guessable ones.
    return hashlib.sha256(secret.encode()).hexdigest()
