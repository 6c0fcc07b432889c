"""Celery's configuration, derived from Framemill's settings. Private names do not appear in ``celery report``."""

from __future__ import annotations

from jobs.process.log import hide_queries as _hide_queries
from jobs.startup import settings_or_exit as _settings_or_exit
from tasks.broker import broker_settings as _broker_settings

_hide_queries()
_settings = _settings_or_exit()

_broker = _broker_settings(_settings)
broker_url = _broker["broker_url"]
broker_use_ssl = _broker["broker_use_ssl"]
broker_transport_options = _broker["broker_transport_options"]
result_backend = "tasks.result_backend.JobBackend"
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

broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# Redis that refuses commands (its disk or its memory is full) is waited for, too, instead of ending the worker.
broker_channel_error_retry = True
task_publish_retry = False
result_expires = _settings.retention.result_ttl_s
event_queue_ttl = 5
event_queue_expires = 60
