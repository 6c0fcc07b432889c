"""Every Redis key and channel, and the head that gives them to the Lua scripts.

=====================  =======  ==========================================================================
key                    type     holds
=====================  =======  ==========================================================================
``job:<id>``           hash     the record; also the channel of this job's events. Celery's result
                                backend uses the same name for its results, so both are one thing
``jobs``               zset     all jobs by time of creation, milliseconds
``state:<state>``      zset     the same, the jobs in one state
``lane:<lane>``        zset     waiting jobs by sequence number; a lane is a model, or ``@<slot>`` for pins
``lanes``              set      names of lanes that ever had a job
``work``               hash     lane → units of work that wait in it
``rates``              hash     model → measured seconds per unit of work
``slots``              set      names of slots
``slot:<slot>``        hash     owner, device, models, current job and attempt, facts
``idle``               set      slots that could start a job now
``nodes``              zset     hosts with a delivery worker, by the time that is forgotten
``leases``             zset     slot → time its lease lapses, milliseconds
``assigned``           zset     jobs sent to a worker, by the time they may be sent again
``delivering``         zset     jobs being delivered, by the time they may be sent again
``expiring``           zset     finished jobs by the time their record goes
``dead``               zset     failed jobs that lost ``max_attempts`` workers
``counters``           hash     submitted, succeeded, failed, … since ever; ``sequence``
``events``             channel  every event of every job
``lock:sweep``         string   held by the process that sweeps
=====================  =======  ==========================================================================

The scripts build key names from ids they read, so this layout needs one Redis, not a cluster.
"""

from __future__ import annotations

PREFIX = "framemill:"

#: Also ``task_keyprefix`` of the result backend.
JOB = PREFIX + "job:"
JOBS = PREFIX + "jobs"
STATE = PREFIX + "state:"
LANE = PREFIX + "lane:"
LANES = PREFIX + "lanes"
WORK = PREFIX + "work"
RATES = PREFIX + "rates"
SLOTS = PREFIX + "slots"
SLOT = PREFIX + "slot:"
IDLE = PREFIX + "idle"
NODES = PREFIX + "nodes"
LEASES = PREFIX + "leases"
ASSIGNED = PREFIX + "assigned"
DELIVERING = PREFIX + "delivering"
EXPIRING = PREFIX + "expiring"
DEAD = PREFIX + "dead"
COUNTERS = PREFIX + "counters"
EVENTS = PREFIX + "events"
SWEEP_LOCK = PREFIX + "lock:sweep"

#: A pinned job's lane is the slot's name behind this.
PIN = "@"


def lua_table() -> str:
    """The names above as a Lua table ``K`` (``K.JOB``, ``K.LANE`` …)."""
    names = {name: value for name, value in globals().items() if name.isupper() and isinstance(value, str)}
    return "local K = {" + ", ".join(f"{name} = '{value}'" for name, value in sorted(names.items())) + "}\n"
