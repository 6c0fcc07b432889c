"""Celery's configuration, derived from Framemill's settings. Private names do not appear in ``celery report``."""

from __future__ import annotations

from jobs.process.log import hide_queries as _hide_queries
from jobs.startup import settings_or_exit as _settings_or_exit

_hide_queries()
_settings = _settings_or_exit()

broker_url = _settings.broker_url
# "class+url" is how Celery names a backend class.
result_backend = f"tasks.result_backend.JobBackend+{_settings.backend_url}"
imports = ("workers.gpu.task", "workers.delivery.task", "workers.parent.control", "workers.parent.boot")

# JSON only: a message can carry no code.
task_serializer = "json"
result_serializer = "json"
accept_content = ["json"]

# A message is only a hint, the record decides (docs/architecture.md): messages are acknowledged at once, and the sweep
# sends a message again that was lost with its worker.
task_acks_late = False
worker_prefetch_multiplier = 1
worker_concurrency = 1
worker_pool = "workers.parent.pool:TaskPool"
# A new child may take long to import torch; with the default of 4 s it would be killed again and again.
worker_proc_alive_timeout = 600
worker_cancel_long_running_tasks_on_connection_loss = False
# Flower turns events on when it starts and keeps them on. They cost nothing while no monitor runs.
worker_send_task_events = False
worker_hijack_root_logger = False
worker_redirect_stdouts = False

# The timeouts detect a dead connection; with retry_on_timeout the worker would hang for ever.
broker_transport_options = {
    "socket_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 5,
    # No message has a priority: one list for each queue instead of four, of which Redis would watch each.
    "priority_steps": [0],
}
if not broker_url.startswith("redis+socket"):
    broker_transport_options["socket_connect_timeout"] = 2
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# Redis that refuses commands (its disk or its memory is full) is waited for, too, instead of ending the worker.
broker_channel_error_retry = True
redis_socket_timeout = _settings.redis.timeout_s
redis_socket_connect_timeout = 2
task_publish_retry = False
result_expires = _settings.retention.result_ttl_s
event_queue_ttl = 5
event_queue_expires = 60
