"""Callers: their roles, limits and permissions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from jobs.errors import InvalidRequest, Problem
from jobs.settings import CLASSES, RETENTION_CLASSES

#: Largest limit of a key.
MAX_LIMIT = 1_000_000_000
#: Key id of callers on a server without keys.
NOBODY = "-"


#: Who checked callers that have no key of the server: the files of endpoints; nobody.
ENDPOINT_FILES, UNCHECKED = "aime", "open"


class Role(StrEnum):
    """The purpose of a key."""

    #: Submits jobs, and sees and stops its own.
    CLIENT = "client"
    #: Pulls jobs over HTTP as a worker.
    WORKER = "worker"
    #: Reads ``/metrics``, and nothing else.
    METRICS = "metrics"
    #: May do everything, with the jobs of all keys.
    ADMIN = "admin"


@dataclass(frozen=True, kw_only=True)
class Caller:
    """The sender of a request, as its API key describes it."""

    #: Owner of its jobs: the name of the service that has the key (letters, digits, ``_`` and ``-``), or
    #: :func:`identity_of` a caller without a key of the server.
    key_id: str
    role: Role = Role.CLIENT
    #: Default scheduling class of its jobs.
    job_class: str = "general"
    #: Default retention class of its jobs' files; empty: that of the server.
    retention: str = ""
    #: Number of jobs that may wait, run at once, and be submitted per minute; 0: no limit.
    max_waiting: int = 0
    max_running: int = 0
    max_per_minute: int = 0
    #: Models that it may use; empty: all.
    models: tuple[str, ...] = ()
    #: Paths that it may call, with all paths below them; empty: all.
    endpoints: tuple[str, ...] = ()
    #: Whether its requests may skip moderation.
    may_skip_moderation: bool = False

    @property
    def is_admin(self) -> bool:
        return self.role is Role.ADMIN

    @property
    def is_client(self) -> bool:
        """Whether it may use the APIs of clients."""
        return self.role in (Role.CLIENT, Role.ADMIN)

    @property
    def may_read_metrics(self) -> bool:
        return self.role in (Role.METRICS, Role.ADMIN)

    @property
    def scope(self) -> str | None:
        """The key whose jobs it may see; None: those of all keys."""
        return None if self.is_admin else self.key_id

    def owns(self, key_id: str) -> bool:
        """Return whether it may see and stop the jobs of a key."""
        return self.is_admin or key_id == self.key_id

    def may_call(self, path: str) -> bool:
        """Return whether it may call a path: one of :attr:`endpoints`, or one below it."""
        allowed = [prefix.rstrip("/") for prefix in self.endpoints]
        return not allowed or any(path == prefix or path.startswith(f"{prefix}/") for prefix in allowed)

    def may_use_class(self, job_class: str) -> bool:
        """Return whether its jobs may have a scheduling class: its own, or a lower one."""
        return self.is_admin or CLASSES.index(job_class) >= CLASSES.index(self.job_class)

    def check(self) -> Caller:
        """Return the caller if its fields are valid. Raises: InvalidRequest: names every problem."""
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
            if not 0 <= getattr(self, name) <= MAX_LIMIT:
                problems.append(Problem(name, f"must be between 0 and {MAX_LIMIT}", getattr(self, name)))
        problems += [
            Problem("endpoints", "must be paths that begin with /", prefix)
            for prefix in self.endpoints
            if not prefix.startswith("/")
        ]
        if problems:
            raise InvalidRequest(*problems)
        return self


#: The caller of every request to a server without keys, which is bound to loopback: it may do everything.
ANYBODY = Caller(key_id=NOBODY, role=Role.ADMIN)


def identity_of(checked_by: str, name: str) -> str:
    """Return the owner of the jobs of a caller that has no key of the server.

    Names of keys contain no dot, so a key of the same name is another caller, with other jobs, limits and webhooks.
    """
    return f"{checked_by}.{name}"


def digest_of(secret: str) -> str:
    """Return the digest that is stored instead of a secret."""
    # Secrets are 256 random bits, so a plain hash is enough; salts and stretching protect guessable ones.
    return hashlib.sha256(secret.encode()).hexdigest()
