"""Options of the web server: address, keys, inputs, outputs, webhooks and moderation."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import cached_property

from jobs.errors import BadSetting
from jobs.formats import IMAGE_FORMATS, VIDEO_FORMATS
from jobs.settings.option import PROJECT_ROOT, Group, at_least, between, matching, one_of, option
from jobs.slots.slot import is_slot
from jobs.strict_json import Limits

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Shortest secret that signs links, characters.
MIN_LINK_SECRET_CHARS = 32
#: A port is in this range.
PORTS = between(1, 65_535)


@dataclass(frozen=True, kw_only=True)
class WebOptions(Group):
    """The web server, and Flower beside it."""

    #: Address the web server binds.
    host: str = option("HOST", "127.0.0.1")
    #: Port of the web server.
    port: int = option("PORT", 8000, PORTS)
    #: Port of Flower.
    flower_port: int = option("FLOWER_PORT", 5555, PORTS)
    #: Whether Flower's pages show prompts, and other texts of requests.
    flower_prompts: bool = option("FLOWER_PROMPTS", False)
    #: Number of web server processes.
    processes: int = option("WEB_PROCESSES", 1, at_least(1, "since none would serve requests"))
    #: Requests that each process answers at once, streams and sockets included.
    max_connections: int = option("MAX_CONNECTIONS", 2000, at_least(1, "or nothing is answered"))
    #: Open connections of each process on which no request is being answered.
    max_idle_connections: int = option("MAX_IDLE_CONNECTIONS", 1000, at_least(1, "or nothing is answered"))
    #: The same from one address.
    max_idle_per_address: int = option("MAX_IDLE_PER_ADDRESS", 500, at_least(1, "or nothing is answered"))
    #: Longest wait for the header of a request, and longest silence within its body or the reading of its response.
    request_timeout_s: float = option("REQUEST_TIMEOUT_S", 20.0, at_least(1, "as clients need some time"))
    #: Largest body of a request, bytes.
    max_request_bytes: int = option("MAX_REQUEST_BYTES", 64 * 1024 * 1024)
    #: Largest part of a JSON body or form that remains without pictures and files, bytes.
    max_json_bytes: int = option("MAX_JSON_BYTES", 2 * 1024 * 1024)
    #: Largest result that a worker sends over HTTP, bytes.
    max_result_bytes: int = option("MAX_RESULT_BYTES", 128 * 1024 * 1024)
    #: Address of this server as others reach it, put before the links in webhooks. Empty: links without a host.
    public_url: str = option(
        "PUBLIC_URL", "", matching(r"(https?://[^\s?#]+)?", "start with http:// or https:// and have no query")
    )
    #: Host names, besides those of loopback, under which a server without keys is reached, comma separated.
    allowed_hosts: str = option("ALLOWED_HOSTS", "")
    #: Origins whose pages may use this server, comma separated; ``*``: every page. Empty: only its own pages.
    cors_origins: str = option("CORS_ORIGINS", "")
    #: Addresses and networks of reverse proxies whose ``X-Forwarded-*`` fields count, comma separated. Empty: none.
    trusted_proxies: str = option("TRUSTED_PROXIES", "")
    #: The only slot that this web server works with. Empty: all.
    service_slot: str = option("SERVICE_SLOT", "")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.service_slot and not is_slot(self.service_slot):
            raise BadSetting("SERVICE_SLOT must be a slot like gpu0, nodeb.gpu0 or the name of a back end")
        if not all(re.fullmatch(r"[a-z0-9._-]+|[0-9a-f.]*:[0-9a-f:.]+", name) for name in hosts_of(self.allowed_hosts)):
            raise BadSetting("ALLOWED_HOSTS must be host names or addresses without a port, separated by commas")
        if not all(origin == "*" or re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s/?#]+", origin) for origin in self.origins):
            raise BadSetting("CORS_ORIGINS must be * or origins like https://pages.example.org, separated by commas")

        try:
            _ = self.proxies
        except ValueError as exc:
            raise BadSetting(f"TRUSTED_PROXIES must be addresses or networks, separated by commas: {exc}") from None

    @property
    def proxies(self) -> tuple[Network, ...]:
        """The networks of ``TRUSTED_PROXIES``."""
        return tuple(ipaddress.ip_network(text) for text in sorted(hosts_of(self.trusted_proxies)))

    @property
    def origins(self) -> frozenset[str]:
        """The origins of ``CORS_ORIGINS``, in lower case."""
        return hosts_of(self.cors_origins)

    @property
    def body_limits(self) -> Limits:
        """Limits of the JSON that clients send."""
        return Limits(self.max_request_bytes, self.max_json_bytes)

    @cached_property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the web server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, kw_only=True)
class AccessOptions(Group):
    """API keys that exist from the start."""

    #: Keys: ``service:secret[:role[:class]]``, comma separated.
    api_keys: str = option("API_KEYS", "", secret=True)
    #: Secrets that sign links, comma separated, newest first. Empty: one that the server makes and keeps in Redis.
    link_secret: str = option("LINK_SECRET", "", secret=True)
    #: A file with such entries, one per line; lines that begin with # are comments.
    api_keys_file: str = option("API_KEYS_FILE", "")

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(len(secret) < MIN_LINK_SECRET_CHARS for secret in self.link_secrets):
            raise BadSetting(f"LINK_SECRET must be secrets of {MIN_LINK_SECRET_CHARS} or more characters")

    @property
    def link_secrets(self) -> tuple[str, ...]:
        """The secrets of ``LINK_SECRET``, newest first."""
        return tuple(secret.strip() for secret in self.link_secret.split(",") if secret.strip())

    @property
    def key_entries(self) -> list[str]:
        """The entries of both. Raises: BadSetting: ``API_KEYS_FILE`` cannot be read."""
        text = self.api_keys.replace(",", "\n")
        if self.api_keys_file:
            try:
                text += "\n" + (PROJECT_ROOT / self.api_keys_file).read_text(encoding="utf-8")
            except OSError as exc:
                raise BadSetting(f"API_KEYS_FILE {self.api_keys_file} cannot be read: {exc.strerror}") from exc
        lines = (line.strip() for line in text.splitlines())
        return [line for line in lines if line and not line.startswith("#")]


@dataclass(frozen=True, kw_only=True)
class InputOptions(Group):
    """Limits of input images."""

    #: Largest input image (upload, base64 or download), bytes.
    max_bytes: int = option("MAX_INPUT_BYTES", 32 * 1024 * 1024)
    #: Largest input image, pixels.
    max_px: int = option("MAX_INPUT_PX", 64_000_000)
    #: Longest input video or sound, seconds, and most frames of a video.
    max_s: float = option("MAX_INPUT_S", 120.0)
    max_frames: int = option("MAX_INPUT_FRAMES", 7200)
    #: Memory for decoding pictures and sound at the same time, in each web server process, bytes.
    decode_bytes: int = option("DECODE_BUDGET_BYTES", 256 * 1024 * 1024, at_least(1024 * 1024, "a small picture"))
    #: Threads that decode pictures and sound, in each web server process.
    decode_threads: int = option("DECODE_THREADS", 2, between(1, 8))
    #: Longest wait for the memory and a thread, seconds.
    decode_wait_s: float = option("DECODE_WAIT_S", 20.0)
    #: Longest conversion of a sound or video, seconds.
    convert_s: float = option("CONVERT_S", 60.0)
    #: Longest download of an input image, seconds.
    url_timeout_s: float = option("INPUT_URL_TIMEOUT_S", 10.0)
    #: Hosts whose private addresses input links may use, comma separated. Empty: public addresses only.
    url_allow: str = option("INPUT_URL_ALLOW", "")
    #: Folder of input images that LightX2V's clients may name by their path. Empty: none.
    dir: str = option("INPUT_DIR", "")

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """Hosts whose private addresses input links may use."""
        return hosts_of(self.url_allow)


@dataclass(frozen=True, kw_only=True)
class OutputOptions(Group):
    """Formats of outputs, and the links to them."""

    #: Format of images: ``png``, ``webp`` or ``jpeg``.
    image_format: str = option("IMAGE_FORMAT", "png", one_of(*IMAGE_FORMATS))
    #: Format of videos: ``mp4``, ``webm``, ``gif`` or ``webp``.
    video_format: str = option("VIDEO_FORMAT", "mp4", one_of(*VIDEO_FORMATS))
    #: Quality of WebP and JPEG images, 1 to 100.
    image_quality: int = option("IMAGE_QUALITY", 90, between(1, 100))
    #: Quality of MP4, WebM and WebP videos, 1 to 100.
    video_quality: int = option("VIDEO_QUALITY", 80, between(1, 100))
    #: Whether outputs hold the request that made them.
    embed_metadata: bool = option("EMBED_METADATA", True)
    #: Whether outputs say that a model made them.
    embed_provenance: bool = option("EMBED_PROVENANCE", True)
    #: Longest side of thumbnails, pixels. 0: neither thumbnails nor posters are made.
    thumbnail_px: int = option("THUMBNAIL_PX", 256)
    #: Format of thumbnails and posters: ``webp`` or ``jpeg``.
    thumbnail_format: str = option("THUMBNAIL_FORMAT", "webp", one_of("webp", "jpeg"))
    #: How clients fetch outputs of a bucket: ``presigned``, ``public`` (below ``S3_PUBLIC_URL``) or ``proxy``.
    urls: str = option("RESULT_URLS", "presigned", one_of("presigned", "public", "proxy"))
    #: Longest lifetime of signed and presigned links, seconds.
    url_ttl_s: int = option("RESULT_URL_TTL_S", 3600, at_least(1, "or no link works"))
    #: Hosts whose private addresses outputs may be uploaded to, comma separated. Empty: public addresses only.
    upload_allow: str = option("UPLOAD_ALLOW", "")
    #: Longest upload of an output, all tries together, seconds.
    upload_timeout_s: float = option("UPLOAD_TIMEOUT_S", 60.0, at_least(1, "or no upload succeeds"))

    @property
    def upload_hosts(self) -> frozenset[str]:
        """Hosts whose private addresses outputs may be uploaded to."""
        return hosts_of(self.upload_allow)


@dataclass(frozen=True, kw_only=True)
class WebhookOptions(Group):
    """Deliveries of webhooks."""

    #: Secrets that sign webhooks of keys without secrets of their own: ``whsec_…``, comma separated, newest first.
    secret: str = option("WEBHOOK_SECRET", "", secret=True)
    #: Longest wait for a receiver's answer, seconds.
    timeout_s: float = option("WEBHOOK_TIMEOUT_S", 15.0)
    #: Pauses before the second and later attempts, seconds; each is extended by up to a fifth at random.
    retry_s: str = option(
        "WEBHOOK_RETRY_S", "5 300 1800 7200 18000 36000",
        matching(r"([0-9]{1,7}( [0-9]{1,7})*)?", "be whole numbers of seconds, such as '5 300 1800'"),
    )  # fmt: skip
    #: Number of deliveries that an ``io`` worker sends at once.
    concurrency: int = option("WEBHOOK_CONCURRENCY", 64, between(1, 1000))
    #: Hosts whose private addresses webhooks may go to, comma separated. Empty: public addresses only.
    allow: str = option("WEBHOOK_ALLOW", "")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(re.fullmatch(r"whsec_[A-Za-z0-9+/]{32,87}={0,2}", secret) for secret in self.secrets):
            raise BadSetting("WEBHOOK_SECRET must be whsec_ followed by 24 to 64 bytes in base64")
        if self.timeout_s == 0:
            raise BadSetting("WEBHOOK_TIMEOUT_S must be more than 0")

    @property
    def secrets(self) -> list[str]:
        """The signing secrets, newest first."""
        return [secret.strip() for secret in self.secret.split(",") if secret.strip()]

    @property
    def pauses_s(self) -> list[int]:
        """Pauses before the second and later attempts, seconds."""
        return [int(pause_s) for pause_s in self.retry_s.split()]

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """Hosts whose private addresses webhooks may go to."""
        return hosts_of(self.allow)


@dataclass(frozen=True, kw_only=True)
class ModerationOptions(Group):
    """Checks of prompts and outputs."""

    #: What happens to prompts and outputs that a check refuses: ``off`` (nothing is checked), ``block`` or ``blur``.
    mode: str = option("MODERATION", "off", one_of("off", "block", "blur"))
    #: The check of prompts: ``module:function``; ``none``: no check.
    prompts: str = option("MODERATION_PROMPTS", "jobs.moderation:words")
    #: The check of outputs: ``module:function``; ``none``: no check.
    outputs: str = option("MODERATION_OUTPUTS", "workers.delivery.moderation:skin")
    #: Words and phrases that no prompt may contain, one per line, for the check ``jobs.moderation:words``.
    words_file: str = option("MODERATION_WORDS_FILE", "")
    #: Share of skin-coloured pixels from which the check ``workers.delivery.moderation:skin`` refuses an output.
    skin_share: float = option("MODERATION_SKIN_SHARE", 0.4, between(0, 1))


@dataclass(frozen=True, kw_only=True)
class PromptOptions(Group):
    """Enhancement of prompts."""

    #: What rewrites prompts: ``module:function``, or the address of an HTTP service; '' for nothing.
    enhancer: str = option("PROMPT_ENHANCER", "")
    #: Whether the prompts of requests that do not say so are enhanced.
    enhance: bool = option("ENHANCE_PROMPTS", False)
    #: Longest wait for the HTTP service, seconds.
    timeout_s: float = option("PROMPT_ENHANCER_TIMEOUT_S", 10.0, between(0.1, 120))


def hosts_of(text: str) -> frozenset[str]:
    """Host names of a comma-separated list, in lower case."""
    return frozenset(host.strip().lower() for host in text.split(",") if host.strip())
