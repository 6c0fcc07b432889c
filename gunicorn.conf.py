"""gunicorn's configuration, read by ``gunicorn 'app:create_app()'`` in the project's root."""

from gevent import monkey

# Must come before all other imports: a module with unpatched sockets or locks would block every client.
monkey.patch_all()

import gc  # noqa: E402
import resource  # noqa: E402
from functools import partial  # noqa: E402

# While the modules are imported nothing becomes garbage; to look for it takes a seventh of the time. The worker turns
# the collector on again when it has loaded the app.
gc.disable()

from app.server.request_log import Logger  # noqa: E402
from app.server.worker import Worker  # noqa: E402
from jobs.process import log, tracing  # noqa: E402
from jobs.settings.dangerous import dangers  # noqa: E402
from jobs.settings.without_effect import without_effect  # noqa: E402
from jobs.startup import has_keys, verified_web_settings  # noqa: E402

log.hide_queries()
_settings = verified_web_settings()
_host = f"[{_settings.web.host}]" if ":" in _settings.web.host else _settings.web.host

# gunicorn itself believes nobody: TRUSTED_PROXIES decides, in app/access/forwarded.py.
forwarded_allow_ips = ""
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}

bind = f"{_host}:{_settings.web.port}"
workers = _settings.web.processes
# One process serves thousands of waiting SSE and WebSocket clients, and bounds their number itself.
worker_class = Worker
# The parser that tests/attacks attacks, also where gunicorn's other one (gunicorn_h1c) is installed.
http_parser = "python"
# Each connection needs a file descriptor, and the soft limit is often 1024.
_, _most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_most_files, _most_files))
# Seconds; longer than the 60 that load balancers usually keep connections.
keepalive = 75
# Seconds for open requests at shutdown. Streams never end by themselves; clients resume them.
graceful_timeout = 3
# The supervisor starts and stops gunicorn.
control_socket_disable = True
# The app logs its requests itself, see docs/operating/monitoring.md; --access-logfile adds gunicorn's own lines.
accesslog = None
logger_class = Logger
errorlog = "-"
loglevel = _settings.process.log_level.lower()
proc_name = "framemill"


def worker_exit(server, worker):  # type: ignore[no-untyped-def]
    """Send the last spans."""
    tracing.flush()


def on_starting(server):  # type: ignore[no-untyped-def]
    """Name the settings that change nothing, and combinations that are dangerous."""
    for sentence in [*without_effect(_settings), *dangers(_settings, partial(has_keys, _settings))]:
        server.log.warning(sentence)
