"""What workers report about their runs: progress and results."""

from __future__ import annotations

import time
from typing import Any

from app.extensions import dispatcher, objects, settings, store
from app.protocols.aime.endpoints.served import endpoints
from app.protocols.aime.endpoints.spec import Endpoint
from app.protocols.aime.workers import pulling
from app.protocols.aime.workers.access import refusal_of
from app.protocols.aime.workers.memory import Run, memory
from app.protocols.aime.workers.results import store_outputs
from jobs.errors import ExecutionError, JobNotFound, RunTimeout
from jobs.process import tracing
from jobs.states import JobState
from tasks.job_end import report_end
from tasks.job_log import log_end_of_run

Reply = dict[str, Any]


def warning(message: str) -> Reply:
    """Return the reply after which a worker goes on with its next job."""
    return {"cmd": "warning", "msg": message}


def progress_reply(canceled: str = "") -> Reply:
    """Return the reply to progress; ``canceled`` is the id, as the worker names it, of a job that it must stop."""
    return {"success": True, "cmd": "ok", **({"job_id": canceled, "canceled": True} if canceled else {})}


def endpoint_of(protocol: str, served: list[Endpoint]) -> Endpoint:
    """Return which of the endpoints of a job type a job was sent to, by the protocol of its record."""
    return next((endpoint for endpoint in served if endpoint.protocol == protocol), served[0])


def update_progress(fields: dict[str, Any]) -> Reply:
    """Store the progress of a run, and renew its lease. Raises: Unavailable."""
    run = _remembered(fields) or _read(fields)
    if run is None:
        return progress_reply()
    served = _served(run)
    if refusal := refusal_of(run, served, fields):
        return {"success": False, **warning(refusal), "error_msg": refusal}
    value = fields.get("progress")
    percent = value if isinstance(value, int | float) and 0 <= value < 1e9 else 0
    if not store().progress(run.job_id, run.attempt, "computing", min(int(percent), 100), 100, None):
        return _progress_of_ended_run(fields)
    endpoint, data = endpoint_of(run.protocol, served), fields.get("progress_data")
    data = data if isinstance(data, dict) else {}
    outputs = {name: data[name] for name in endpoint.progress_outputs if data.get(name) is not None}
    reported = {"progress": percent, "progress_data": outputs}
    store().keep_worker_progress(run.job_id, reported, endpoint.job_inactivity_timeout)
    # Whether the run was cancelled is known already; the lease need not be renewed with each step.
    interval_s = min(settings().leases.heartbeat_s, endpoint.job_inactivity_timeout / 4)
    if not memory().renewal_due(run, interval_s) or pulling.renew(run) is None:
        return progress_reply()
    fail(run.job_id, run.attempt, run.slot, RunTimeout.code, str(RunTimeout()))
    return progress_reply(canceled=fields["job_id"])


def _progress_of_ended_run(fields: dict[str, Any]) -> Reply:
    """Return the reply to progress of a run that has ended: a worker that still computes it must stop."""
    run = _read(fields)
    if run is not None and run.state.is_terminal and pulling.is_held(run):
        pulling.renew(run)
        return progress_reply(canceled=fields["job_id"])
    return progress_reply()


def store_result(fields: dict[str, Any], problem: str) -> Reply:
    """Store the result of a run, or fail its job for a problem. Raises: Unavailable."""
    run = _remembered(fields) or _read(fields)
    if run is None:
        return warning("unknown job")
    served = _served(run)
    if refusal := refusal_of(run, served, fields):
        return {"success": False, "error_msg": refusal, **warning(refusal)}
    if not run.is_running:
        return _late_result(run)
    endpoint = endpoint_of(run.protocol, served)
    if fields.get("error") and "error" not in endpoint.outputs:
        return _fail(run, fields, ExecutionError.code, str(fields["error"])) or {"cmd": "ok"}
    try:
        if problem:
            raise ExecutionError(problem)
        outputs, result = store_outputs(endpoint, run, fields, objects(), settings().web.max_json_bytes)
    except ExecutionError as exc:
        return _fail(run, fields, exc.code, exc.message) or warning(exc.message)
    run_s = max(0.0, time.time() - run.started_at_ms / 1000)
    memory().drop_run(run)
    if not store().complete(run.job_id, run.attempt, slot=run.slot, run_s=run_s, outputs=outputs, result=result):
        return _late_result(_read(fields))
    if run.job is not None and not tracing.is_on():
        log_end_of_run(run.job, JobState.SUCCEEDED, run_s=run_s, is_delivered=bool(outputs))
    else:
        report_end(store(), run.job_id, "succeeded")
    dispatcher().announce("task-succeeded", run.job_id, result=f"{len(outputs)} files", runtime=run_s)
    return {"cmd": "ok"}


def _fail(run: Run, fields: dict[str, Any], code: str, message: str) -> Reply | None:
    """Fail the job of a run. Return the reply if the run had ended already, else None."""
    memory().drop_run(run)
    return None if fail(run.job_id, run.attempt, run.slot, code, message) else _late_result(_read(fields))


def fail(job_id: str, attempt: int, slot: str, code: str, message: str) -> bool:
    """Fail the job of a run. Return whether the run was current. Raises: Unavailable."""
    if not store().fail(job_id, attempt, code=code, message=message, slot=slot):
        return False
    dispatcher().report_ends(announced=job_id)
    dispatcher().announce("task-failed", job_id, exception=message[:200])
    return True


def _late_result(run: Run | None) -> Reply:
    """Return the reply to a result that came too late, and free the slot: its worker has stopped now."""
    if run is None:
        return warning("unknown job")
    store().release(run.job_id, run.attempt, slot=run.slot)
    return warning(f"the job is {run.state} and takes no result of this run")


def _remembered(fields: dict[str, Any]) -> Run | None:
    job_id, attempt = _named(fields)
    return memory().run(job_id, attempt)


def _read(fields: dict[str, Any]) -> Run | None:
    """Return the run that a worker names as its job's record describes it; None if the name is not valid."""
    job_id, attempt = _named(fields)
    try:
        run = Run.of(store().get(job_id), attempt)
    except JobNotFound:
        return None
    return run if attempt and _served(run) else None


def _named(fields: dict[str, Any]) -> tuple[str, int]:
    """Return the job and the attempt of the id that a worker was given, ``<job>#<attempt>``."""
    job_id, _, attempt = str(fields.get("job_id", "")).partition("#")
    return job_id, int(attempt) if attempt.isdecimal() else 0


def _served(run: Run) -> list[Endpoint]:
    """Return the endpoints whose jobs the worker of a run computes."""
    return [one for one in endpoints().by_name.values() if one.model == run.model and one.job_type]
