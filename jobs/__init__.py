"""The domain: jobs, their records and states, slots, models, object stores and settings.

Nothing here imports Flask, Celery or torch. Every state change of a job is one Lua call on Redis
(``jobs/store/lua``), made through :class:`jobs.store.jobs.JobStore`.
"""
