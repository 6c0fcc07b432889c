"""A queue with one slot and stored files, and the model of files for the property test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from jobs.files import retention
from jobs.record import Output
from jobs.requests.generation import GenerationRequest
from jobs.store import keys
from jobs.submission import Submission
from tests.support.store_driver import StoreDriver, request

Open = Callable[..., StoreDriver]


class FilesDriver:
    """A queue with one slot, and its files."""

    def __init__(self, driver: StoreDriver, objects: Any) -> None:
        self.driver, self.objects = driver, objects
        self.store, self.redis = driver.store, driver.redis
        driver.open()
        self.redis.set(keys.FILES_BEGAN, 0)

    def submit(self, **options: Any) -> str:
        return self.driver.submit(**options)

    def with_input(self, name: str, **options: Any) -> str:
        wanted = replace(request("m", 1), image=name)
        job_id = options.pop("job_id", f"with-input-{self.redis.dbsize()}")
        return self.store.submit(job_id, Submission(request=wanted, **options)).job_id

    def upload(self, content: str = "aa") -> str:
        name = self.store.reserve_input(content, "png")
        self.objects.put_bytes(name, content.encode(), "image/png")
        return name

    def compute(self) -> tuple[str, int]:
        """Compute the slot's job; its frames then wait for delivery."""
        job_id, attempt = self.driver.at()
        self.driver.start()
        assert self.store.finish_run(job_id, attempt, slot="gpu0", node="host", run_s=1)
        return job_id, attempt

    def publish(self) -> str:
        """Complete the slot's job, with an output, a poster beside it and the files of a lost delivery."""
        job_id, attempt = self.compute()
        self.objects.put_bytes(f"outputs/{job_id}/{attempt}.0/0.png", b"lost", "image/png")
        number = self.store.claim(job_id, attempt, "io")
        key = f"outputs/{job_id}/{attempt}.{number}/0.png"
        for name in (key, key.replace("0.png", "0.poster.jpg")):
            self.objects.put_bytes(name, b"output", "image/png")
        assert self.store.deliver(job_id, attempt, "io", [Output(key, "image/png", 6, "0" * 64, 1, 1)])
        return job_id

    def files(self, prefix: str = "outputs/") -> list[str]:
        return [found.key for found in self.objects.list(prefix)]

    def pass_time(self, *names: str) -> None:
        """Make all files (or those with these names) due for removal."""
        for name in names or self.redis.zrange(keys.DUE, 0, -1):
            self.redis.zadd(keys.DUE, {name: 1}, xx=True)
            if (job_id := name.split("/")[1]) and self.redis.hexists(keys.JOB + job_id, "expires_at"):
                self.redis.hset(keys.JOB + job_id, "expires_at", 1)

    def sweep(self) -> list[str]:
        return retention.remove_due(self.store, self.objects, again_after_s=0)


class Wanted(GenerationRequest):
    """A request with any number of inputs."""

    names: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.names

    @classmethod
    def of(cls, names: tuple[str, ...]) -> Wanted:
        wanted = cls(**vars(request("m", 1)))
        object.__setattr__(wanted, "names", names)
        return wanted


@dataclass
class Upload:
    """An input on its way to a job. ``lapsed``: its grace period ended before the job was submitted."""

    name: str
    stored: bool = False
    lapsed: bool = False


@dataclass
class Job:
    job_id: str
    inputs: tuple[str, ...]
    kept: bool
    state: str = "queued"
    attempt: int = 0
    outputs: list[str] = field(default_factory=list)
    expired: bool = False
