"""Many waiting requests beside a small pool of connections to Redis, and waiting requests whose Redis goes away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from app.events.shared_values import SharedValues
from app.extensions import of
from app.protocols.native import streams
from jobs.errors import Unavailable
from tests.support.harness import wait_for
from tests.support.served_app import ServedApp
from tests.support.service import Service, Stream

POOL, LISTENERS = 5, 20


def _calls(service: Service, command: str) -> int:
    return int(service.redis.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


def _ends(stream: Stream) -> list[dict[str, object]]:
    return [data for _, name, data in stream if name == "end"]


def test_listeners_and_submits_share_a_small_pool(services: Callable[..., Service]) -> None:
    service = services(REDIS_CONNECTIONS=POOL)
    service.open()
    followed = service.submit()
    listeners = [service.events(f"/v1/jobs/{followed}/events") for _ in range(LISTENERS)]
    readers = ThreadPoolExecutor(LISTENERS)
    ends = [readers.submit(_ends, listener) for listener in listeners]
    submitters = ThreadPoolExecutor(LISTENERS)
    submits = [submitters.submit(service.submit) for _ in range(LISTENERS)]
    service.finish()
    views = [one for end in ends for one in end.result()]
    assert views == [service.job(followed)] * LISTENERS
    assert len({submit.result() for submit in submits}) == LISTENERS


def test_the_end_of_a_job_is_read_once_for_all_its_listeners(service: Service) -> None:
    followed = service.submit()
    listeners = [service.events(f"/v1/jobs/{followed}/events") for _ in range(LISTENERS)]
    poll = ThreadPoolExecutor(LISTENERS)
    polls = [poll.submit(service.json, f"/v1/jobs/{followed}?wait=30") for _ in range(LISTENERS)]
    wait_for(lambda: len(of(service.app).hub._by_job[followed]) == 2 * LISTENERS, "all to listen")
    service.redis.config_resetstat()
    service.cancel(followed)
    assert [len(_ends(listener)) for listener in listeners] == [1] * LISTENERS
    assert {one.result()["state"] for one in polls} == {"cancelled"}
    assert _calls(service, "hgetall") < LISTENERS


def test_a_full_pool_says_so(services: Callable[..., Service]) -> None:
    service = services(REDIS_CONNECTIONS=1, REDIS_CONNECTION_WAIT_S=0.05)
    service.submit()
    pool = of(service.app).store.client.connection_pool
    taken = pool.get_connection()
    response = service.get("/v1/jobs")
    assert response.status_code == 503
    assert "too many requests at once" in response.get_json()["detail"]
    pool.release(taken)
    assert service.get("/v1/jobs").status_code == 200


def test_streams_outlast_an_outage_of_redis(
    serve: Callable[..., ServedApp], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(streams, "KEEPALIVE_S", 0.05)
    monkeypatch.setattr("app.events.streams.RETRY_S", 0.05)
    app = serve()
    job_id = app.submit(model="tiny-image")
    with requests.get(app.url(f"/v1/jobs/{job_id}/events"), stream=True, timeout=60) as response:
        lines = response.iter_lines(chunk_size=1, decode_unicode=True)
        app.redis.stop()
        assert any(line == ": the job store does not answer" for line in lines)
        app.redis.start()
        app.cancel(job_id)
        assert any(line == "event: end" for line in lines)
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR]


def test_a_shared_value_is_made_once_by_the_first_who_asks() -> None:
    values, made, may_end = SharedValues(), [], threading.Event()

    def make() -> str:
        made.append(1)
        assert may_end.wait(30)
        return "value"

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(values.get, "key", make) for _ in range(8)]
        wait_for(lambda: made, "the first one to begin")
        may_end.set()
        assert [one.result() for one in asked] == ["value"] * 8
    assert made == [1]


def test_a_value_that_could_not_be_made_is_made_again() -> None:
    values = SharedValues()

    def fail() -> str:
        raise Unavailable("away")

    with pytest.raises(Unavailable):
        values.get("key", fail)
    assert values.get("key", lambda: "value") == "value"
