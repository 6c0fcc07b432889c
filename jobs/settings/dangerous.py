"""Combinations of settings that let others in or lose jobs, although each of them may be meant."""

from __future__ import annotations

import ipaddress
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from dotenv import dotenv_values

from jobs.settings.environment import ENV_FILE
from jobs.settings.option import PROJECT_ROOT
from jobs.settings.settings import Settings

#: Shortest prefix of a network of proxies, bits by version of IP; a shorter one has more addresses than any site.
_SHORTEST_PREFIX = {4: 8, 6: 16}
#: Variables whose values are secrets, or may contain one.
_SECRETS = frozenset({
    "API_KEYS", "AWS_SECRET_ACCESS_KEY", "FLOWER_BASIC_AUTH", "LINK_SECRET", "REDIS_URL", "S3_SECRET_KEY", "SERVICES",
    "WEBHOOK_SECRET",
})  # fmt: skip


def dangers(settings: Settings, has_keys: Callable[[], bool | None], *, env_file: Path = ENV_FILE) -> list[str]:
    """Return a sentence for each danger: what may happen, and what to do.

    Args:
        settings: of the web server.
        has_keys: tells whether there are API keys, None if it is unknown. Called only if that matters.
        env_file: the file of settings.
    """
    return [*_access(settings, has_keys), *_proxies(settings), *_redis(settings), *_files(settings, env_file)]


def _access(settings: Settings, has_keys: Callable[[], bool | None]) -> Iterator[str]:
    web, is_public = settings.web, _leads_to_others(settings.web.public_url)
    ways = {"TRUSTED_PROXIES": bool(web.proxies), "PUBLIC_URL": is_public, "ALLOWED_HOSTS": bool(web.allowed_hosts)}
    proxied, is_any_origin = [name for name, is_set in ways.items() if is_set], "*" in web.origins
    if not proxied and not is_any_origin:
        return
    known = has_keys()
    if known:
        if is_public and web.public_url.startswith("http:"):
            yield "PUBLIC_URL is not encrypted: whoever listens on the way reads keys and cookies. Use https"
        return
    reason = "there are no API keys" if known is False else "it is unknown whether there are API keys"
    if proxied:
        yield (
            f"{', '.join(proxied)}: others may reach this server, and {reason}. Without keys, all of them are admins. "
            "Create one: python -m app.keys create NAME --role admin"
        )
    if is_any_origin:
        yield (
            f"CORS_ORIGINS is *, and {reason}. Without keys, every web page that is opened on this machine may do "
            "everything. Name the origins of your pages"
        )


def _proxies(settings: Settings) -> Iterator[str]:
    for network in settings.web.proxies:
        if network.prefixlen < _SHORTEST_PREFIX[network.version]:
            yield (
                f"TRUSTED_PROXIES has {network}: nearly everybody may choose the address, host and prefix that the "
                "server sees. Name the addresses of your proxies"
            )


def _redis(settings: Settings) -> Iterator[str]:
    address = settings.redis_address
    is_remote = any(not _is_loopback(host) for host, _ in address.hosts)
    if is_remote and not address.password and not (address.tls or {}).get("ssl_certfile"):
        yield (
            "REDIS_URL leads to another machine without a password: whoever reaches that Redis may read and change all "
            "jobs and keys. Set a password there"
        )
    if address.service and not settings.redis.wait_replicas:
        yield (
            "REDIS_URL names Sentinels, and REDIS_WAIT_REPLICAS is 0: a failover may lose jobs that were accepted in "
            "the moment before. Set it to 1"
        )


def _files(settings: Settings, env_file: Path) -> Iterator[str]:
    data, given = settings.paths.data_dir.resolve(), (PROJECT_ROOT / settings.inputs.dir).resolve()
    if settings.inputs.dir and (data.is_relative_to(given) or given.is_relative_to(data)):
        yield (
            f"INPUT_DIR {settings.inputs.dir} and DATA_DIR overlap: a caller may name the pictures of others as input. "
            "Choose another folder"
        )
    files = [PROJECT_ROOT / settings.access.api_keys_file] if settings.access.api_keys_file else []
    if _SECRETS & dotenv_values(env_file, interpolate=False).keys():
        files.append(env_file)
    for file in files:
        if file.stat().st_mode & stat.S_IROTH:
            yield f"every user of this machine can read the secrets in {file}. Run: chmod 600 {file}"


def _leads_to_others(url: str) -> bool:
    return bool(url) and not _is_loopback(urlsplit(url).hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
