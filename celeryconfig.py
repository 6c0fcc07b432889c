"""Celery's settings, from ours. The leading underscores keep other names out of ``celery report``."""

from __future__ import annotations

from jobs.settings import Settings as _Settings

_settings = _Settings.from_env()

broker_url = _settings.broker_url
# "class+url": Celery's own way to name a backend class.
result_backend = f"tasks.result_backend.JobBackend+{_settings.backend_url}"
imports = ("workers.gpu.task", "workers.delivery.task", "workers.parent.control", "workers.parent.boot")

# JSON only: a message can carry no code.
task_serializer = "json"
result_serializer = "json"
accept_content = ["json"]

# A message is a hint, the record decides (docs/architecture.md): it is acknowledged at once, and what gets
# lost with a worker is sent again by the sweep.
task_acks_late = False
worker_prefetch_multiplier = 1
worker_concurrency = 1
worker_pool = "workers.parent.pool:TaskPool"
# A replaced child may take long to import torch; the default of 4 s would kill it in an endless loop.
worker_proc_alive_timeout = 600
worker_cancel_long_running_tasks_on_connection_loss = False
# Flower turns events on when it starts and keeps them on; nobody pays for them while nobody watches.
worker_send_task_events = False
worker_hijack_root_logger = False
worker_redirect_stdouts = False

# The timeouts find a connection that died without a word; retry_on_timeout would hang the worker for ever.
broker_transport_options = {
    "socket_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 5,
}
if not broker_url.startswith("redis+socket"):
    broker_transport_options["socket_connect_timeout"] = 2
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
redis_socket_timeout = _settings.redis.timeout_s
redis_socket_connect_timeout = 2
task_publish_retry = False
result_expires = _settings.retention.result_ttl_s
event_queue_ttl = 5
event_queue_expires = 60
