"""The domain: jobs, their records and states, slots, the object store, models and settings.

Nothing here knows Flask, Celery or torch. Every state change of a job is one Lua call on Redis
(``jobs/store/lua``), made through :class:`jobs.store.jobs.JobStore`; everything else in Framemill asks this package.
"""
