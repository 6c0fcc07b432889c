"""API keys: creating, finding, replacing and revoking them; only digests of their secrets are stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from jobs.callers import ANYBODY, Caller, Role, digest_of
from jobs.errors import BadSetting, Conflict, InvalidRequest, KeyNotFound
from jobs.outbound.webhook import EVENTS, Webhook
from jobs.store import keys
from jobs.store.credentials.api_keys import SECRET_PREFIX, KeyRing
from jobs.store.outgoing.webhook_outbox import WebhookOutbox
from tests.support.store_driver import StoreDriver

Open = Callable[..., StoreDriver]

OPS = Caller(key_id="ops", role=Role.ADMIN)
SHOP = Caller(
    key_id="shop", job_class="premium", retention="keep", max_waiting=5, max_running=2, max_per_minute=60,
    models=("a", "b"), endpoints=("/v1/",), may_skip_moderation=True,
)  # fmt: skip


@pytest.fixture
def here(driver: Open) -> StoreDriver:
    return driver()


@pytest.fixture
def ring(here: StoreDriver) -> KeyRing:
    return KeyRing(here.store)


def test_a_key_is_found_by_its_secret_alone(here: StoreDriver, ring: KeyRing) -> None:
    assert ring.is_empty()
    secret = ring.create(SHOP)
    assert not ring.is_empty()
    assert secret.startswith(SECRET_PREFIX)
    assert ring.authenticate(secret) == ring.by_digest(digest_of(secret)) == SHOP
    assert ring.authenticate(secret + "x") is None
    assert ring.by_digest(secret) is None
    assert not any(secret in str(here.redis.hgetall(name)) for name in (keys.API_KEYS, keys.API_KEY_NAMES))
    assert here.redis.hgetall(keys.LIMITS) == {"shop": "2"}


def test_a_service_has_one_key(ring: KeyRing) -> None:
    ring.create(SHOP)
    with pytest.raises(Conflict, match="there is a key for 'shop'"):
        ring.create(replace(SHOP, job_class="general"))
    assert ring.all() == [SHOP]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"key_id": ""}, "1 to 64"), ({"key_id": "a b"}, "letters, digits"), ({"key_id": "ä"}, "ASCII"),
        ({"key_id": "-"}, "1 to 64"), ({"job_class": "gold"}, "premium, general"), ({"retention": "years"}, "days"),
        ({"max_waiting": -1}, "between 0 and"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(ring: KeyRing, fields: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem):
        ring.create(replace(SHOP, **fields))  # type: ignore[arg-type]
    assert ring.is_empty()


def test_a_revoked_key_leaves_nothing(here: StoreDriver, ring: KeyRing) -> None:
    ring.create(OPS)
    secret = ring.create(SHOP)
    outbox = WebhookOutbox(here.store)
    outbox.configure("shop", Webhook("http://example.org/hook", EVENTS))
    here.redis.hset(keys.SUBSCRIBER_QUEUES + "shop", "1", "")
    ring.revoke("shop")
    assert not here.redis.exists(keys.SUBSCRIBER_QUEUES + "shop")
    assert ring.authenticate(secret) is None
    assert ring.all() == [OPS]
    assert outbox.of_key("shop") is None
    assert here.redis.hgetall(keys.LIMITS) == here.redis.hgetall(keys.WEBHOOK_SECRETS) == {}
    with pytest.raises(KeyNotFound, match="no key for 'shop'"):
        ring.revoke("shop")
    assert ring.authenticate(ring.create(SHOP)) == SHOP


def test_the_last_key_of_an_admin_stays(ring: KeyRing) -> None:
    ring.create(OPS)
    ring.create(SHOP)
    with pytest.raises(Conflict, match="last admin's key"):
        ring.revoke("ops")
    ring.create(replace(OPS, key_id="more"))
    ring.revoke("ops")
    assert [caller.key_id for caller in ring.all()] == ["more", "shop"]


def test_the_last_key_stays_although_it_is_no_admins(ring: KeyRing) -> None:
    ring.seed([f"shop:{'a' * 16}", f"bot:{'b' * 16}"])  # such as those of API_KEYS
    ring.revoke("bot")
    with pytest.raises(Conflict, match="a server without keys accepts every caller"):
        ring.revoke("shop")
    assert not ring.is_empty()


def test_a_server_is_opened_by_deleting_two_hashes(here: StoreDriver, ring: KeyRing) -> None:
    ring.create(OPS)
    here.redis.delete(keys.API_KEYS, keys.API_KEY_NAMES)
    assert ring.is_empty()
    assert ring.authenticate(ring.create(OPS)) == OPS


def test_keys_of_the_settings_replace_earlier_ones(ring: KeyRing) -> None:
    first, second = "a" * 16, "b" * 16
    ring.seed([f"ops:{first}:admin", f"shop:{second}"])
    assert ring.authenticate(first) == OPS
    assert ring.authenticate(second) == Caller(key_id="shop")
    ring.seed([f"shop:{first}z:worker"])
    assert ring.authenticate(second) is None
    assert ring.authenticate(f"{first}z") == Caller(key_id="shop", role=Role.WORKER)
    ring.seed([f"shop:{first}z:client:premium"])  # the same secret, another role and class
    assert ring.authenticate(f"{first}z") == Caller(key_id="shop", job_class="premium")
    assert len(ring.all()) == 2


@pytest.mark.parametrize("entry", ["shop", "shop:short", "shop:0123456789abcdef:king", "a b:0123456789abcdef"])
def test_a_wrong_entry_of_the_settings_is_named_without_its_secret(ring: KeyRing, entry: str) -> None:
    with pytest.raises(BadSetting, match="API_KEYS entry 2") as caught:
        ring.seed(["ops:0123456789abcdef:admin", entry])
    assert "0123456789abcdef" not in str(caught.value)


def test_services_may_share_a_key(ring: KeyRing) -> None:
    ring.seed_services([("one", "secret"), ("two", "secret")])
    for name in ("one", "two"):
        caller = ring.authenticate(f"{name}:secret")
        assert caller == Caller(key_id=name, job_class="premium", may_skip_moderation=True)
    assert ring.authenticate("secret") is None


def test_who_sees_whose_jobs() -> None:
    assert (OPS.scope, SHOP.scope, ANYBODY.scope) == (None, "shop", None)
    assert (OPS.owns("shop"), SHOP.owns("shop"), SHOP.owns("ops")) == (True, True, False)
