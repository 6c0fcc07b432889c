"""The paths that LightX2V has in common with the native API: which answers are LightX2V's, and what others gain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from flask import Flask, Response, current_app, jsonify, request

from app import auth
from app.extensions import dispatcher, settings, store
from app.protocols.lightx2v import creating, views
from app.protocols.lightx2v.states import OLD_PROTOCOL, PROTOCOL
from app.sharing import share
from jobs.record import Job
from jobs.states import JobState
from jobs.store import queries

#: Most tasks in the list.
MAX_LISTED = 1000

View = Callable[..., Any]


def register(app: Flask) -> None:
    """Take part in the native API's routes."""
    for endpoint, view in (
        ("tasks.submit", _submit), ("tasks.list_tasks", _list), ("tasks.status", _status), ("tasks.result", _result),
        ("tasks.cancel_running", _cancel_running), ("service.service_status", _service_status),
    ):  # fmt: skip
        share(app, endpoint, view)


def _submit(native: View) -> Response:
    if creating.is_own(request):
        return creating.create(video=True, old=True)
    return _extended(native(), lambda body: views.created(store().get(body["task_id"]), single=False))


def _list(native: View) -> Any:
    if request.args and not creating.is_single():
        return native()
    single, own = creating.is_single(), settings().web.service_slot
    jobs, _, _ = queries.list_jobs(store(), key_id=auth.caller().scope, limit=MAX_LISTED)
    shown = [
        job
        for job in jobs
        if (not own or own in (job.slot, job.pin)) and (not single or job.state.is_terminal)
    ]  # fmt: skip
    return jsonify({job.job_id: views.listed(job, single=single) for job in reversed(shown)})


def _status(native: View, job_id: str) -> Any:
    if not str(request.url_rule).endswith("/status"):
        return native(job_id=job_id)
    job = queries.find(store(), job_id)
    single = creating.is_single()
    if single and (job is None or not auth.caller().owns(job.key_id)):
        return jsonify({"status": "not_found", "task_id": job_id})

    def more(body: dict[str, Any]) -> dict[str, Any]:
        seen = _as_of(store().get(job_id), body)
        view = views.task(seen, single=single)
        if not single and seen.protocol not in (PROTOCOL, OLD_PROTOCOL):
            del view["status"], view["error"]  # the native ones stay
        return view

    return _extended(native(job_id=job_id), more)


def _as_of(job: Job, body: dict[str, Any]) -> Job:
    """The job as the answer shows it, if it has changed since."""
    state = JobState(body["state"])
    if state is job.state:
        return job
    started = job.started_at_ms if body["started_at"] else None
    return replace(job, state=state, started_at_ms=started, finished_at_ms=None, error=None)


def _result(native: View, job_id: str) -> Any:
    response = current_app.make_response(native(job_id=job_id))
    job = queries.find(store(), job_id)
    if job and response.status_code < 300 and (creating.is_single() or job.protocol in (PROTOCOL, OLD_PROTOCOL)):
        as_attachment(response, job)
    return response


def as_attachment(response: Response, job: Job) -> None:
    """Have a download named as the client named the output."""
    name = PurePosixPath(views.file_path(job)).name
    response.headers.set("Content-Disposition", "attachment", filename=name)


def _cancel_running(native: View) -> Any:
    if not creating.is_single():
        return native()
    # Its one task is any that was accepted and is not over.
    return jsonify(views.stopped(dispatcher().cancel_all(auth.caller(), waiting=True), everything=False))


def _service_status(native: View) -> Response:
    def more(body: dict[str, Any]) -> dict[str, Any]:
        current = queries.find(store(), body["task_id"]) if body["task_id"] else None
        own = settings()
        return views.service(body, current, own.scheduling.max_waiting, single=creating.is_single())

    return _extended(native(), more)


def _extended(result: Any, more: Callable[[dict[str, Any]], dict[str, Any]]) -> Response:
    """A JSON answer with further keys."""
    response: Response = current_app.make_response(result)
    body = response.get_json()
    extended = jsonify({**body, **more(body)})
    response.set_data(extended.get_data())
    return response
