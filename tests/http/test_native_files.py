"""Results, thumbnails and previews over the native API."""

from __future__ import annotations

import pytest

from jobs.record import Output
from tests.support.pictures import JPEG, PNG
from tests.support.service import Service, key, later


def preview(service: Service, step: int, content: bytes = JPEG) -> None:
    """Store a preview of the slot's job."""
    job_id, attempt = service.driver.at()
    assert service.store.preview(job_id, attempt, step, content, "image/jpeg")


# ---- results


def test_downloads_can_be_resumed_and_cached(service: Service) -> None:
    job_id = service.submit()
    service.finish()
    path = f"/v1/jobs/{job_id}/result"
    whole = service.get(path)
    assert (whole.data, whole.headers["Content-Type"]) == (PNG, "image/png")
    assert whole.headers["Content-Disposition"] == f'inline; filename="{job_id}-0.png"'
    part = service.get(path, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.data) == (206, PNG[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(PNG)}"
    assert service.get(path, headers={"Range": "bytes=-5"}).data == PNG[-5:]
    assert service.get(path, headers={"Range": "bytes=99999999-"}).status_code == 416
    assert service.get(path, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304
    head = service.client.head(path)
    assert (head.status_code, int(head.headers["Content-Length"]), head.data) == (200, len(PNG), b"")


@pytest.mark.parametrize("leaf", ["result", "thumbnail", "poster"])
def test_a_result_that_is_not_ready_is_a_conflict(service: Service, leaf: str) -> None:
    job_id = service.submit()
    for message in ("the job is queued: no result yet", "the job is failed: it has no result"):
        refused = service.get(f"/v1/jobs/{job_id}/{leaf}")
        assert (refused.status_code, refused.get_json()["error"]["code"]) == (409, "not_ready")
        assert refused.get_json()["detail"] == message
        if message.endswith("yet"):
            service.fail()


def test_a_result_is_waited_for(service: Service) -> None:
    job_id = service.submit()
    path = f"/v1/jobs/{job_id}/result"
    assert service.get(f"{path}?wait=0.1").status_code == 409
    with later(service.finish):
        assert service.get(f"{path}?wait=60").data == PNG
    assert service.get(path, headers={"Prefer": "wait=60"}).data == PNG
    assert service.get("/v1/jobs/unknown/result?wait=60").status_code == 404
    assert service.get(f"{path}?wait=soon").get_json()["error"]["fields"][0]["field"] == "wait"


@pytest.mark.parametrize("index", ["1", "-1", "first"])
def test_an_output_that_does_not_exist(service: Service, index: str) -> None:
    job_id = service.submit()
    service.finish()
    refused = service.get(f"/v1/jobs/{job_id}/result?index={index}")
    assert (refused.status_code, refused.get_json()["error"]["fields"][0]["field"]) == (422, "index")


def test_files_beside_an_output(service: Service) -> None:
    service.submit()
    job_id, attempt = service.driver.at()
    service.start()
    assert service.store.finish_run(job_id, attempt, slot="gpu0", node="host", run_s=1)
    prefix = f"outputs/{job_id}/{attempt}.{service.store.claim(job_id, attempt, 'io')}/0"
    service.objects.put_bytes(f"{prefix}.png", PNG, "image/png")
    service.objects.put_bytes(f"{prefix}.thumbnail.jpg", JPEG, "image/jpeg")
    thumbnail = Output(f"{prefix}.thumbnail.jpg", "image/jpeg", len(JPEG), "1" * 64, 4, 3)
    output = Output(f"{prefix}.png", "image/png", len(PNG), "0" * 64, 40, 30, thumbnail=thumbnail)
    assert service.store.deliver(job_id, attempt, "io", [output])
    [shown] = service.job(job_id)["outputs"]
    assert (shown["thumbnail_url"], shown["poster_url"]) == (f"/v1/jobs/{job_id}/thumbnail?index=0", None)
    small = service.get(shown["thumbnail_url"])
    assert (small.data, small.headers["Content-Type"]) == (JPEG, "image/jpeg")
    missing = service.get(f"/v1/jobs/{job_id}/poster")
    assert (missing.status_code, missing.get_json()["error"]["code"]) == (404, "object_not_found")


def test_a_file_that_is_no_longer_stored(service: Service) -> None:
    job_id = service.submit()
    service.finish()
    for stored in list(service.objects.list(f"outputs/{job_id}/")):
        service.objects.delete(stored.key)
    missing = service.get(f"/v1/jobs/{job_id}/result")
    assert (missing.status_code, missing.get_json()["error"]["code"]) == (404, "object_not_found")
    assert missing.get_json()["detail"] == "the output was removed from the object store"


# ---- previews


def test_a_running_job_shows_its_newest_preview(service: Service) -> None:
    job_id = service.submit(preview=True)
    early = service.get(f"/v1/jobs/{job_id}/preview")
    assert (early.status_code, early.get_json()["error"]["code"]) == (404, "no_preview")
    service.start(step=1)
    preview(service, 1)
    assert service.job(job_id)["preview"] == {"step": 1, "url": f"/v1/jobs/{job_id}/preview?step=1"}
    first = service.get(f"/v1/jobs/{job_id}/preview?step=1")
    assert (first.data, first.headers["Content-Type"], first.headers["Preview-Step"]) == (JPEG, "image/jpeg", "1")
    assert "no-cache" in first.headers["Cache-Control"]
    unchanged = {"If-None-Match": first.headers["ETag"]}
    assert service.get(f"/v1/jobs/{job_id}/preview", headers=unchanged).status_code == 304
    preview(service, 2)
    later = service.get(f"/v1/jobs/{job_id}/preview", headers=unchanged)
    assert (later.status_code, later.headers["Preview-Step"]) == (200, "2")
    service.cancel(job_id)
    assert service.job(job_id)["preview"] is None
    gone = service.get(f"/v1/jobs/{job_id}/preview")
    assert (gone.status_code, gone.get_json()["detail"]) == (404, "the job is cancelled: it has no preview")


@pytest.mark.parametrize("how", ["0", "1", "data"])
def test_a_stream_asks_for_previews_and_sends_them(service: Service, how: str) -> None:
    job_id = service.submit()
    stream = service.events(f"/v1/jobs/{job_id}/events?preview={how}")
    next(stream)
    service.start()
    assert next(stream)[1] == "state"
    _, attempt = service.driver.at()
    reply = service.store.progress(job_id, attempt, "denoising", 1, 4, 1.0)
    assert reply.name == ("GO_ON" if how == "0" else "SHOW")
    # A state that the first message contained may be sent once more.
    assert next(name for _, name, _ in stream if name != "state") == "progress"
    if how == "0":
        return
    preview(service, 1)
    _, name, data = next(stream)
    assert (name, data["id"], data["progress"]["step"]) == ("preview", job_id, 1)
    assert data["preview"]["url"] == f"/v1/jobs/{job_id}/preview?step=1"
    assert ("data" in data["preview"]) == (how == "data")
    if how == "data":
        assert data["preview"]["data"].startswith("data:image/jpeg;base64,")
    stream.close()


def test_wrong_values_of_preview_are_refused(service: Service) -> None:
    answers = [service.get(f"/v1/jobs/{service.submit()}/events?preview=yes"),
               service.post("/v1/jobs", json={"preview": "sometimes"})]  # fmt: skip
    for answer in answers:
        assert (answer.status_code, answer.get_json()["error"]["fields"][0]["field"]) == (422, "preview")


def test_other_keys_do_not_see_previews(service: Service) -> None:
    ops = key(service, "ops", role="admin")
    mine, other = key(service, "mine", admin=ops), key(service, "other", admin=ops)
    path = f"/v1/jobs/{service.submit(mine, preview=True)}/preview"
    service.start(step=1)
    preview(service, 1)
    foreign = service.get(path, headers=other)
    assert (foreign.status_code, foreign.get_json()["error"]["code"]) == (404, "job_not_found")
    assert [service.get(path, headers=headers).status_code for headers in (mine, ops)] == [200, 200]
    assert service.get(path).status_code == 401
