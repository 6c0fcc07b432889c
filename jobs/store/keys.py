"""Every Redis key and channel. The Lua scripts use them as ``K.JOB``, ``K.LANE`` …

========================  =======  =======================================================================
key                       type     holds
========================  =======  =======================================================================
``job:<id>``              hash     the record; also the channel of this job's events. Celery's result
                                   backend uses the same name for its results, so both are one thing
``jobs``                  zset     all jobs by time of creation, milliseconds
``jobs:<key>``            zset     the same, of one API key
``state:<state>``         zset     the same, in one state
``state:<state>:<key>``   zset     the same, in one state, of one API key
``lane:<lane>``           zset     waiting jobs by priority and age. A lane is ``<class>|<key>|<model>``;
                                   ``@<slot>`` for pinned jobs; ``!<model>`` for those moved to the front
``models:<class>|<key>``  set      models of which this key has waiting jobs
``waiting``               hash     number of waiting jobs by model, by ``<class>|<key>`` and by class
``work``                  hash     model → units of work that wait
``fair:<class>``          zset     keys with waiting jobs, by GPU seconds served (virtual time)
``served``                hash     ``<class>|<key>`` → GPU seconds served, ``v:<class>`` → of the key taken last;
                                   ``pass:<class>`` → turns taken by weight, ``v`` → of the class taken last
``active:<key>``          set      jobs of a key that hold a slot
``rates``                 hash     ``<model>`` and ``<model>|<device>`` → measured seconds per unit of work
``slots``                 set      names of slots
``slot:<slot>``           hash     owner, device, models, current job and attempt, facts
``idle``                  set      slots that could start a job now
``paused``                set      slots that get no job; ``*`` stands for all
``pins``                  hash     ``<slot>|<model>`` → 1 or 0: an operator's word on whether the model stays in memory
``leases``                zset     slot → time its lease lapses, milliseconds
``nodes``                 zset     hosts with a delivery worker, by the time that is forgotten, seconds
``assigned``              zset     jobs sent to a worker, by the time they may be sent again
``delivering``            zset     jobs being delivered, by the time they may be sent again
``away``                  hash     host → time its deliveries may try again an object store that is away, ms
``deadlines``             zset     waiting jobs by the time they must have started
``expiring``              zset     finished jobs without files by the time their record goes
``due``                   zset     stored objects by the time they may be removed; ``…/`` is all below it
``inputs``                hash     SHA-256 of an input image → the object that holds it
``input_uses``            hash     object of an input image → number of records that need it
``deleted:<id>``          string   key of a deleted job: its id is not used again for a while
``files_began``           string   when files were first looked after, seconds; older ones are left alone
``orphan_cursor``         string   the last object that the search for orphans has seen
``dead``                  zset     failed jobs that lost ``max_attempts`` workers
``preview:<id>``          hash     the newest picture of a running job (step, media type, base64); gone with the run
``progress:<id>``         string   what a worker over HTTP last said about its run (JSON); gone with the run
``preview_wanted:<id>``   string   there while somebody asks for such pictures
``counters``              hash     submitted, succeeded, failed, … since ever; ``sequence``; ETA errors
``events``                stream   the newest events of all jobs
``idempotency:<key>:<k>`` string   job id and fingerprint of a request sent with an ``Idempotency-Key``
``file:<key>:<path>``      string   job whose output a key's caller named so
``minute:<key>:<minute>`` string   jobs a key submitted in one minute
``keys``                  hash     SHA-256 of an API key → who it is and what it may do
``session:<digest>``      hash     a login at an endpoint: the caller, and the digest of its key
``requests:<who>``        string   requests of a session or key at an endpoint that limits them
``session_vars:<digest>`` hash     what a browser's session keeps from one job to the next
``watched``               string   there while somebody listens to Celery's events
``key_names``             hash     service → SHA-256 of its key, so that a service has one
``webhooks``              hash     key → webhook of all its jobs: url, receiver, events (JSON)
``webhook_secrets``       hash     key → secrets that sign what it is sent (JSON list, newest first)
``hook:<id>``             hash     webhooks of a job: event → delivery (JSON); ``sender``, ``until``: one is on its way;
                                   ``gone``: the receiver wants no more
``hooks:<key>|<host>``    zset     ``<id> <event>`` by the time of its next try, milliseconds, for one receiver
``receivers``             zset     receivers by the time their first delivery is due
``mail:<key>:<mailbox>``  stream   what a socket of this service is to be told of its jobs: id, word, ticket
``mailboxes:<key>``       hash     mailbox → web process that holds its socket; '' when the socket was closed
``webs``                  zset     web processes with sockets by the time their lease lapses, milliseconds
``call:<key>:<call>``     hash     a call that waits for several jobs: digest of its body, jobs, seed, holder;
                                   ``until`` (ms) its claim lapses; ``asked``, ``answered``: questions of
                                   newcomers; ``stopped:<id>``: what there was of a stopped job
``calls:<key>``           zset     a key's calls that were not delivered, by the time they came, milliseconds
``repeats:<key>:<d>``     set      a key's calls with this digest that an equal body may be a repeat of
``options:<key>``         hash     settings of an AUTOMATIC1111 client: name → value (JSON)
``limits``                hash     key → most jobs of it that may hold a slot at once
``lock:sweep``            string   held by the process that sweeps
``lock:files``            string   held by the process that removes files
========================  =======  =======================================================================

The scripts build key names from ids they read, so this layout needs one Redis, not a cluster.
"""

from __future__ import annotations

from jobs.callers import NOBODY as NOBODY
from jobs.slots.slot import ALL_SLOTS

PREFIX = "framemill:"

#: Also ``task_keyprefix`` of the result backend.
JOB = PREFIX + "job:"
JOBS = PREFIX + "jobs"
STATE = PREFIX + "state:"
LANE = PREFIX + "lane:"
KEY_MODELS = PREFIX + "models:"
WAITING = PREFIX + "waiting"
WORK = PREFIX + "work"
FAIR = PREFIX + "fair:"
SERVED = PREFIX + "served"
ACTIVE = PREFIX + "active:"
RATES = PREFIX + "rates"
SLOTS = PREFIX + "slots"
SLOT = PREFIX + "slot:"
IDLE = PREFIX + "idle"
PAUSED = PREFIX + "paused"
PINS = PREFIX + "pins"
LEASES = PREFIX + "leases"
NODES = PREFIX + "nodes"
ASSIGNED = PREFIX + "assigned"
DELIVERING = PREFIX + "delivering"
AWAY = PREFIX + "away"
DEADLINES = PREFIX + "deadlines"
EXPIRING = PREFIX + "expiring"
DUE = PREFIX + "due"
INPUTS = PREFIX + "inputs"
INPUT_USES = PREFIX + "input_uses"
DELETED = PREFIX + "deleted:"
FILES_BEGAN = PREFIX + "files_began"
ORPHAN_CURSOR = PREFIX + "orphan_cursor"
DEAD = PREFIX + "dead"
PREVIEW = PREFIX + "preview:"
PROGRESS = PREFIX + "progress:"
PREVIEW_WANTED = PREFIX + "preview_wanted:"
COUNTERS = PREFIX + "counters"
EVENTS = PREFIX + "events"
IDEMPOTENCY = PREFIX + "idempotency:"
FILE = PREFIX + "file:"
MINUTE = PREFIX + "minute:"
API_KEYS = PREFIX + "keys"
API_KEY_NAMES = PREFIX + "key_names"
LIMITS = PREFIX + "limits"
CALL = PREFIX + "call:"
CALLS = PREFIX + "calls:"
REPEATS = PREFIX + "repeats:"
OPTIONS = PREFIX + "options:"
WEBHOOKS = PREFIX + "webhooks"
WEBHOOK_SECRETS = PREFIX + "webhook_secrets"
HOOK = PREFIX + "hook:"
HOOKS = PREFIX + "hooks:"
RECEIVERS = PREFIX + "receivers"
MAIL = PREFIX + "mail:"
MAILBOXES = PREFIX + "mailboxes:"
WEBS = PREFIX + "webs"
SESSION = PREFIX + "session:"
REQUESTS = PREFIX + "requests:"
SESSION_VARS = PREFIX + "session_vars:"
WATCHED = PREFIX + "watched"
SWEEP_LOCK = PREFIX + "lock:sweep"
FILES_LOCK = PREFIX + "lock:files"

#: A pinned job's lane is the slot's name behind this.
PIN = "@"
#: A job that was moved to the front waits in the lane of its model behind this.
FRONT = "!"
#: The member of ``paused`` that stands for the whole queue.
ALL = ALL_SLOTS
#: Beginnings of the names of stored objects: ``inputs/<sha256>.<token>.<ending>``, ``outputs/<id>/…``.
INPUT_OBJECTS = "inputs/"
OUTPUT_OBJECTS = "outputs/"
