"""The mapping of a job: fields of a submission in the record, a job read from the record, the accepted job, a retry."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from jobs.callers import Caller
from jobs.models.spec import Kind
from jobs.outbound.webhook import Webhook
from jobs.record import CHANGING, RECORD_VERSION, Job, JobOptions, Output
from jobs.record_fields import shown, storage_of
from jobs.requests.custom import EndpointRequest
from jobs.requests.generation import GenerationRequest
from jobs.settings import Settings
from jobs.states import JobState
from jobs.submission import CALLER_OPTIONS, Submission, Subscriber

REQUEST = GenerationRequest(
    model="m", kind=Kind.IMG2IMG, prompt="a “red” circle", negative_prompt="", seed=7, steps=20, guidance_scale=5,
    width=512, height=256, image="inputs/1.2.png", strength=0.5,
)  # fmt: skip
REQUEST_TEXT = (
    '{"model":"m","kind":"img2img","prompt":"a “red” circle","negative_prompt":"","seed":7,"steps":20,'
    '"guidance_scale":5,"width":512,"height":256,"frames":1,"fps":0.0,"image":"inputs/1.2.png","strength":0.5}'
)
CALLER = Caller(key_id="shop", job_class="premium", retention="hours")
HOOK = Webhook("https://example.org/hook")
#: A submission with every option, and its record: the fields of version 0.1.0.
FULL = Submission(
    request=REQUEST, caller=CALLER, warnings=["rounded"], protocol="devoid", pin="gpu1", job_class="general",
    priority=3, not_before_ms=8000, max_run_s=9.5, max_silence_s=60, preview=True, retention="keep", retry_of="old",
    command="check", webhook=HOOK,
    moderate=False, alias="a.jpg", path="x/y.png", start_within_s=5, idempotency_key="k", fingerprint="f",
    only_if_idle=True, model_max_waiting=4, subscriber=Subscriber("7", {"id": 1}, {"payload": {}}, synced=False),
)  # fmt: skip
FULL_RECORD = {
    "key": "shop", "class": "general", "model": "m", "work": 20 * 512 * 256 / 1e6, "request": REQUEST_TEXT, "steps": 20,
    "protocol": "devoid", "retention": "keep", "pin": "gpu1", "priority": 3, "not_before": 8000, "max_run_ms": 9500,
    "preview": 1,
    "model_max_waiting": 4, "max_silence_ms": 60000, "retry_of": "old", "command": "check", "path": "x/y.png",
    "inputs": "inputs/1.2.png", "webhook": HOOK.to_json(), "unmoderated": 1, "alias": "a.jpg", "mailbox": "7",
    "ticket": '{"id":1}', "echo": '{"payload":{}}', "unsynced": "1", "warnings": '["rounded"]',
}  # fmt: skip
#: A record as the scripts complete it.
RUN = {
    "state": "succeeded", "created_at": "1000", "started_at": "2000", "computed_at": "3000", "finished_at": "4000",
    "attempt": "2", "starts": "1", "slot": "gpu1", "device": "cuda:1", "stage": "delivering", "step": "20",
    "steps": "24", "stage_percent": "40", "eta_s": "1.25", "error": "", "preview_step": "19", "handed_back": "busy",
    "outputs": '[{"key":"outputs/a/0.png","media_type":"image/png","bytes":3,"sha256":"x","width":512,"height":256}]',
    "result": '{"seed":{"value":1}}', "report": '{"ok":true}', "expires_at": "5000", "removed_at": "6000",
    "lane": "@gpu1", "sequence": "3", "start_by": "900",
}  # fmt: skip


def texts(record: dict[str, Any]) -> dict[str, str]:
    """Return a record as Redis returns it."""
    return {name: str(value) for name, value in record.items()}


def test_a_submission_is_stored_in_the_fields_of_earlier_versions() -> None:
    assert FULL.to_record() == FULL_RECORD


def test_a_submission_without_options_stores_the_defaults_of_its_caller() -> None:
    record = Submission(request=REQUEST, caller=CALLER).completed(Settings()).to_record()
    assert record == {
        "key": "shop", "class": "premium", "model": "m", "work": 20 * 512 * 256 / 1e6, "request": REQUEST_TEXT,
        "steps": 20, "protocol": "native", "retention": "hours", "inputs": "inputs/1.2.png",
    }  # fmt: skip


def test_the_server_decides_the_retention_of_a_caller_without_one() -> None:
    submission = Submission(request=REQUEST, caller=replace(CALLER, retention=""))
    assert submission.completed(Settings.of(retention="keep")).retention == "keep"


@pytest.mark.parametrize(("webhook", "stored"), [(None, None), (False, ""), (HOOK, HOOK.to_json())])
def test_no_webhook_differs_from_that_of_the_key(webhook: Any, stored: str | None) -> None:
    submission = Submission(request=REQUEST, webhook=webhook)
    assert submission.to_record().get("webhook") == stored


def test_a_record_is_read_as_it_was_written() -> None:
    job = Job.from_hash("a1", texts(FULL_RECORD) | RUN)
    for name in storage_of(JobOptions):
        assert getattr(job, name) == getattr(FULL, name), name
    assert (job.job_id, job.key_id, job.state, job.percent) == ("a1", "shop", JobState.SUCCEEDED, 100)
    times = (job.created_at_ms, job.started_at_ms, job.computed_at_ms, job.finished_at_ms, job.expires_at_ms)
    assert (*times, job.removed_at_ms) == (1000, 2000, 3000, 4000, 5000, 6000)
    assert (job.attempt, job.starts, job.slot, job.device) == (2, 1, "gpu1", "cuda:1")
    assert (job.stage, job.step, job.steps, job.stage_percent) == ("delivering", 20, 24, 40)
    assert (job.run_eta_s, job.error, job.preview_step, job.handed_back) == (1.25, None, 19, "busy")
    assert job.outputs == [Output("outputs/a/0.png", "image/png", 3, "x", 512, 256)]
    assert (job.result, job.report) == ({"seed": {"value": 1}}, {"ok": True})


def test_the_smallest_record_is_read_with_defaults() -> None:
    job = Job.from_hash("a1", {"request": REQUEST_TEXT, "state": "queued", "created_at": "1", "webhook": ""})
    assert job == Job(job_id="a1", state=JobState.QUEUED, request=REQUEST, created_at_ms=1, steps=REQUEST.total_steps)
    assert job.request == REQUEST
    assert job.webhook is None
    assert job.moderate


def test_the_accepted_job_is_the_one_that_is_read_later() -> None:
    """Except for the webhook of its key, which only Redis knows."""
    bound = {"state": "queued", "created_at": "1", "slot": "gpu1", "attempt": "1"}
    accepted = FULL.to_job("a1", created_at_ms=1, slot="gpu1")
    assert accepted == Job.from_hash("a1", texts(FULL_RECORD) | bound)


def test_a_retry_has_the_options_of_the_job_but_not_its_names() -> None:
    job = Job.from_hash("a1", texts(FULL_RECORD) | RUN)
    again = Submission.again(job, Caller(key_id="ops"))
    own = {"retry_of": "a1", "not_before_ms": None, "alias": "", "path": ""}
    for name in storage_of(JobOptions):
        assert getattr(again, name) == own.get(name, getattr(job, name)), name
    assert again.caller.key_id == "shop"
    assert Submission.again(replace(job, webhook=None), CALLER).webhook is False


def test_a_request_of_an_endpoint_keeps_its_parameters() -> None:
    request = EndpointRequest.of("aime.x", "x", {"prompt": "a", "n": [1]}, {"image": "inputs/1.2.png"})
    record = Submission(request=request).to_record()
    assert json.loads(record["request"])["params"] == {"prompt": "a", "n": [1]}
    assert (record["work"], record["inputs"]) == (1.0, "inputs/1.2.png")
    stored = texts(record) | {"state": "queued", "created_at": "1"}
    assert Job.from_hash("a1", stored).request == request


def test_every_option_of_a_job_is_stored() -> None:
    assert {field.name for field in fields(JobOptions)} == set(storage_of(JobOptions))
    assert {field.name for field in fields(Job)} - set(storage_of(Job)) == {"job_id"}


def test_callers_set_and_see_options_by_their_names() -> None:
    assert CALLER_OPTIONS == ("job_class", "priority", "pause_at_step", "retention")
    job = FULL.to_job("a1", created_at_ms=1, slot=None)
    assert shown(job) == {
        "class": "general", "priority": 3, "retention": "keep", "command": "check", "slot": None, "device": None,
        "error": None, "report": None, "resumed_from_step": None, "preemptions": 0, "pause_at_step": None,
        "batch_size": None,
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name in CHANGING if name not in ("state", "created_at", "removed_at")])
def test_a_job_is_updated_by_each_field_that_changes(name: str) -> None:
    record = {**texts(FULL_RECORD), **RUN}
    job = Job.from_hash("a", record)
    for changed in ({**record, name: "7"}, {key: text for key, text in record.items() if key != name}):
        updated = job.updated([changed.get(one) for one in CHANGING])
        assert updated == Job.from_hash("a", changed)


@pytest.mark.parametrize(
    "change",
    [{"state": "failed"}, {"created_at": "1001"}, {"state": "", "created_at": ""}, {"removed_at": "7", "outputs": ""}],
)
def test_a_job_in_another_state_must_be_read_as_a_whole(change: dict[str, str]) -> None:
    record = {**texts(FULL_RECORD), **RUN}
    changed = {**record, **change}
    assert Job.from_hash("a", record).updated([changed.get(one) for one in CHANGING]) is None


def test_a_new_field_of_records_has_a_version() -> None:
    """An older worker must not ignore a new field without notice.

    If it may (the field is only shown, say), add the field here; else raise RECORD_VERSION, too.
    """
    names = {*storage_of(JobOptions), *GenerationRequest.__dataclass_fields__, *EndpointRequest.__dataclass_fields__}
    assert (RECORD_VERSION, names) == (2, FIELDS_OF_RECORDS)


def test_a_record_of_a_newer_version_is_read_without_its_new_fields() -> None:
    request = json.dumps({**json.loads(REQUEST_TEXT), "sound": True})
    texts = {"request": request, "state": "queued", "created_at": "1", "version": "2", "mood": "9"}
    job = Job.from_hash("a1", texts)
    assert (job.request, job.version) == (REQUEST, 2)


FIELDS_OF_RECORDS = {
    "alias", "audio", "audio_output", "checkpoint_interval_s", "clip_skip", "command", "command_options", "controls",
    "distilled_guidance_scale", "embed_metadata", "endpoint", "fps", "frames", "guidance_scale", "height", "hires",
    "image", "images", "inpaint", "job_class", "kind", "last_image", "loras", "mask", "max_run_s", "max_silence_s",
    "media", "mix", "model", "moderate", "negative_prompt", "not_before_ms", "num_images", "original_prompt",
    "output_format", "output_quality", "params", "passed_images", "passthrough", "path", "pause_at_step", "pin",
    "preview", "prior", "priority", "prompt", "protocol", "quality", "request", "resize", "retention", "retry_of",
    "scheduler", "seed", "sent", "steps", "strength", "trace", "variation", "version", "video", "warnings",
    "webhook", "width",
}  # fmt: skip
