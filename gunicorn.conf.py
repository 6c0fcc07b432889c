"""gunicorn's options; ``gunicorn 'app:create_app()'`` in the project's root reads this file."""

from gevent import monkey

# Before anything else is imported: what took its sockets or locks from an unpatched module would block every client.
monkey.patch_all()

from app.auth import refuse_open_address  # noqa: E402
from jobs.settings import Settings  # noqa: E402

_settings = Settings.from_env()
refuse_open_address(_settings)
_host = f"[{_settings.web.host}]" if ":" in _settings.web.host else _settings.web.host

bind = f"{_host}:{_settings.web.port}"
workers = _settings.web.processes
# One process holds thousands of waiting SSE and WebSocket clients.
worker_class = "gevent"
worker_connections = 2000
# Seconds. A load balancer in front usually keeps connections for 60.
keepalive = 75
# Seconds for open requests at the end; streams never end by themselves, and clients resume them.
graceful_timeout = 3
# The supervisor starts and stops it.
control_socket_disable = True
accesslog = None
errorlog = "-"
loglevel = _settings.process.log_level.lower()
proc_name = "framemill"
