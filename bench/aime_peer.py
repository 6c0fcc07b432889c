"""A server of the AIME protocol that costs what the AIME API server costs: what Framemill is measured against.

It keeps its jobs in memory, as the original does, and knows only what :mod:`bench.aime` asks. Its event loop and its
parser do less than the original's framework, so each POST burns the difference.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: CPU time that each POST burns, milliseconds; a poll costs as much without.
POST_MS = 0.4
#: How near the figures of the stand-in are to those of the original.
CALIBRATION = (
    "CPU ms per call of the stand-in and of AIME API server 0.9.6, each beside Framemill on two busy cores (load 20):\n"
    "5.4 and 7.4 with a worker that connects for each call, 3.6 and 5.7 with a kept connection, 0.6 and 1.5 a poll.\n"
    "The stand-in burns time and not work, so this differs between machines: --peer measures beside the original."
)
_LONG_POLL_S = 60.0

Reply = dict[str, Any]


@dataclass
class Job:
    """A job from its submission to its result."""

    job_id: str
    inputs: Reply
    created_at: float = field(default_factory=time.time)
    started_at: float = 0.0
    progress: Reply = field(default_factory=lambda: {"progress": 0, "progress_data": {}})
    result: asyncio.Future[Reply] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Jobs:
    """All jobs, the queue of each job type, and the workers that wait for it."""

    def __init__(self) -> None:
        self.by_id: dict[str, Job] = {}
        self._queues: dict[str, asyncio.Queue[Job]] = defaultdict(asyncio.Queue)

    async def answer(self, path: str, fields: Any) -> Any:
        """Return the body of the response to one request."""
        route = path.strip("/")
        if route == "worker_job_request":
            return await self._hand_over(fields["job_type"])
        if route == "worker_job_progress":
            return [self._report(item) for item in fields]
        if route == "worker_job_result":
            return self._finish(fields)
        if route.endswith("/progress"):
            return self._poll(self.by_id[fields["job_id"]])
        return await self._submit(route, fields)

    async def _submit(self, job_type: str, fields: Reply) -> Reply:
        job = Job(f"{uuid.uuid4()}#{len(self.by_id)}", {"prompt": fields.get("prompt")})
        self.by_id[job.job_id] = job
        self._queues[job_type].put_nowait(job)
        if fields.get("wait_for_result", True):
            return self._final(job, await job.result)
        return {"success": True, "job_id": job.job_id, "ep_version": 1}

    async def _hand_over(self, job_type: str) -> Reply:
        try:
            job = await asyncio.wait_for(self._queues[job_type].get(), _LONG_POLL_S)
        except TimeoutError:
            return {"cmd": "no_job"}
        job.started_at = time.time()
        data = {**job.inputs, "job_id": job.job_id, "start_time": job.created_at, "start_time_compute": job.started_at}
        outputs = {"seed": {"type": "integer"}}
        return {"cmd": "job", "endpoint_name": job_type, "final_output_descriptions": outputs, "job_data": [data]}

    def _report(self, item: Reply) -> Reply:
        self.by_id[item["job_id"]].progress = {name: item[name] for name in ("progress", "progress_data")}
        return {"success": True}

    def _finish(self, fields: Reply) -> Reply:
        self.by_id[fields["job_id"]].result.set_result({"seed": fields.get("seed"), "auth": fields["auth"]})
        return {"cmd": "ok"}

    def _poll(self, job: Job) -> Reply:
        head = {"success": True, "job_id": job.job_id, "ep_version": 1}
        if job.result.done():
            return {**head, "job_result": self._final(job, job.result.result()), "job_state": "done"}
        numbers = {"queue_position": 0, "estimate": 0.0, "num_workers_online": 1}
        return {**head, "job_state": "processing", "progress": {**job.progress, **numbers}}

    def _final(self, job: Job, result: Reply) -> Reply:
        now = time.time()
        times = {"start_time": job.created_at, "start_time_compute": job.started_at, "result_received_time": now}
        return {"success": True, "job_id": job.job_id, "ep_version": 1, **result, **times}


class Connection(asyncio.Protocol):
    """One client's connection; requests on it come one after another."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs, self._data = jobs, deque[bytes]()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data.append(data)
        head, found, body = b"".join(self._data).partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if len(body) >= int(headers.get("content-length", 0)):
            self._data.clear()
            method, target, _ = lines[0].split()
            asyncio.get_running_loop().create_task(self._respond(method, target, body))

    async def _respond(self, method: str, target: str, body: bytes) -> None:
        if method == "POST":
            burn(POST_MS)
        url = urlsplit(target)
        fields = json.loads(body) if body else {name: values[0] for name, values in parse_qs(url.query).items()}
        content = json.dumps(await self._jobs.answer(url.path, fields)).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        self._transport.write(head.encode() + content)


def burn(duration_ms: float) -> None:
    """Use CPU time."""
    end = time.thread_time() + duration_ms / 1000
    while time.thread_time() < end:
        pass


async def serve(port: int) -> None:
    jobs = Jobs()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(jobs), "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
