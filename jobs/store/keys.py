"""Every Redis key and channel. The Lua scripts use them as ``K.JOB``, ``K.LANE`` …

========================  =======  =======================================================================
key                       type     holds
========================  =======  =======================================================================
``job:<id>``              hash     the job's record; also the channel of its events. Celery's result backend
                                   uses the same name, so that the record is the result
``jobs``                  zset     all jobs by time of creation, milliseconds
``jobs:<key>``            zset     the same for one API key
``videos``                zset     the same for videos
``videos:<key>``          zset     the same for videos of one API key
``state:<state>``         zset     the same for one state
``state:<state>:<key>``   zset     the same for one state and one API key
``lane:<lane>``           zset     waiting jobs of one line, API key and model, by priority and age. A lane is
                                   ``<line>|<key>|<model>``; the line is the class, ``@<slot>`` for pinned jobs
                                   (``~<slot>`` of the class off-peak), ``!`` for jobs moved to the front
``lanes:<key>``           set      ``<line>|<model>`` for which this key has waiting jobs
``ready:<line>|<model>``  zset     keys with such jobs, by GPU seconds served (virtual time); in the lines of pinned
                                   jobs and of the front, by their first job. A key at its running limit: ``inf``
``order:<line>|<model>``  zset     waiting jobs by the virtual time at which their turn comes, or as in their lane
``waiting``               hash     number of waiting jobs: ``model:<model>``, ``class:<class>``, ``pin:<slot>``,
                                   ``pins``, ``late:<slot>`` (off-peak, pinned) and ``front``
``work``                  hash     model → waiting units of work
``served``                hash     ``<class>|<key>|<model>`` → GPU seconds served, as they count for jobs of the model;
                                   ``v:<class>|<offer>`` → of the key that was taken last;
                                   ``last:<class>|<key>|<model>`` → virtual time after its last waiting job;
                                   ``pass:<class>|<offer>`` → GPU seconds of the class by weight, ``away:…`` → part of
                                   it from other slots, ``pass|<offer>`` → of the class taken last;
                                   ``given:<class>`` → GPU seconds of the class by weight at all slots,
                                   ``seen:<class>|<offer>`` → as they were counted there last
``served_walk``           hash     the walk through these fields: ``began_at`` (ms), and ``cursor`` while it goes on
``unused``                hash     field of ``served`` whose key has no job, or whose offer no slot → its value and the
                                   time (ms) since which it is known to be so
``active:<key>``          set      jobs of a key that hold a slot
``rates``                 hash     ``<model>`` and ``<model>|<device>`` → measured seconds per unit of work
``slots``                 set      names of slots
``slot:<slot>``           hash     owner, device, models, current job and attempt, facts; where the slot is indexed
``history:<slot>``        zset     samples of its device in the last hour (JSON), by their time, seconds
``offers``                hash     offer (a digest of its models) → the models (JSON list) that its slots run
``offers:<model>``        set      offers that include a model
``slots:<offer>``         zset     slots of an offer by standing: 0 takes jobs, 1 paused, 2 blocked
``idle:<offer>``          zset     slots of an offer that would start a job now, by the time since they are idle, ms
``busy:<offer>``          zset     slots of an offer that take jobs and have one, by the expected end of it, ms
``warm:<model>``          zset     idle slots that have a model in memory, by the time since they are idle, ms
``unfilled``              zset     idle slots for which jobs may wait: not yet looked at after a pause or a new limit
``victims:<class>|<offer>``  zset  slots of an offer whose run jobs of a higher class may interrupt; the best victim
                                   has the highest score
``warm_victims:<class>|<model>``  zset  those of them that have a model in memory
``reserved:<lane>``       set      slots whose run was interrupted for the jobs of a lane
``preemptors``            zset     ``<line>|<model>`` of waiting jobs that may interrupt others, by the time of the next
                                   look at them, milliseconds
``stopping``              set      slots whose job was stopped and whose worker still runs it
``paused``                set      slots that get no job; ``*`` stands for all
``yielded``               set      paused slots that give up the memory of their device
``pins``                  hash     ``<slot>|<model>`` → 1 or 0: operator override of whether the model stays in memory
``leases``                zset     slots by the time their lease lapses, milliseconds; of a silent slot that is watched,
                                   by the time it is given up
``renewals``              zset     slots whose lease begins anew after an outage and was not renewed yet
``nodes``                 zset     hosts with a delivery worker, by the time their announcement lapses, seconds
``assigned``              zset     jobs sent to a worker, by the time they may be sent again
``delivering``            zset     jobs being delivered, by the time they may be sent again
``away``                  hash     host → time at which it may try an unreachable object store again, ms
``away_why``              hash     host → what its deliveries wait for, for people
``not_before``            zset     waiting jobs that may not start yet, by the time from which they may, milliseconds
``deadlines``             zset     waiting jobs by the time they must have started, paused ones by the time they must
                                   have been resumed
``expiring``              zset     ended jobs without files by the time their record is deleted
``ends``                  list     ``<id> <state>`` of ended jobs whose end no process has reported yet
``due``                   zset     stored objects by the time they may be removed; ``…/`` stands for all objects below
``inputs``                hash     SHA-256 of an input image → the object that holds it
``input_uses``            hash     object of an input image → number of records that need it
``deleted:<id>``          string   API key of a deleted job, whose id is not used again for a while
``files_began``           string   time since which files are indexed, seconds; older ones are left alone
``file_walk``             string   the walk through the stored objects: the last one seen, what was counted (JSON)
``file_counts``           string   number and bytes of the files that the last complete walk counted (JSON)
``dead``                  zset     failed jobs that lost ``max_attempts`` workers
``preview:<id>``          hash     the newest preview of a running job (step, media type, base64), until its run ends
``progress:<id>``         string   what a worker over HTTP reported last about its run (JSON), until it ends
``preview_wanted:<id>``   string   exists while somebody asks for previews
``fair:<class>``          zset     of version 0.2, deleted: keys by GPU seconds served
``models:<class>|<key>``  set      of version 0.2, deleted: models for which a key had waiting jobs
``layout``                string   version of these keys; see ``adopt_queue.lua``
``counters``              hash     submitted, succeeded, failed, … since the data was created; ETA errors;
                                   lost leases and runs, dead letters
``measures``              hash     series of measurements (JSON: family, labels) → its numbers, ``name:number …``
``measured``              zset     these series by the time of their last measurement, milliseconds
``batch:<process>``       string   number of the last batch of measurements of a process
``events``                stream   the newest events of all jobs
``idempotency:<key>:<k>`` string   job id and fingerprint of a request sent with an ``Idempotency-Key``
``reuse:<key>:<digest>``  string   the newest job of requests that are equal, if they allow its outputs to be reused
``file:<key>:<path>``     string   the newest finished job whose output the caller gave this path
``minute:<key>:<minute>`` string   number of jobs that a key submitted in one minute
``keys``                  hash     SHA-256 of an API key → its service and permissions
``key_names``             hash     service → SHA-256 of its key: a service has one
``limits``                hash     key → how many of its jobs may hold a slot at once
``link_secret``           string   the secret that signs links, unless ``LINK_SECRET`` is set
``session:<digest>``      hash     a login at an endpoint: the caller, and the digest of its key
``requests:<who>``        string   number of requests of a session or key at an endpoint that limits them
``session_vars:<digest>`` hash     what a browser's session keeps from one job to the next; ``…:<id>``: a job whose
                                   result was added to it
``worker:<slot>``         string   how a worker over HTTP described itself, by its first slot (JSON)
``options:<key>``         hash     settings of an AUTOMATIC1111 client: name → value (JSON)
``uploads:<key>``         hash     files that clients of Replicate's API have uploaded, by id; JSON
``watched``               string   exists while somebody listens to Celery's events
``webhooks``              hash     key → webhook of all its jobs: url, receiver, events (JSON)
``webhook_secrets``       hash     key → secrets that sign its messages (JSON list, newest first)
``hook:<id>``             hash     webhook deliveries of a job: event → delivery (JSON); ``sender``, ``until``: who is
                                   sending one; ``gone``: the receiver wants no more
``hooks:<key>|<host>``    zset     ``<id> <event>`` by the time of its next try, milliseconds, for one receiver
``receivers``             zset     receivers by the time their first delivery is due
``mail:<key>:<queue>``    stream   subscriber queue of a service: job id, notice, correlation data
``mailboxes:<key>``       hash     subscriber queue → web process that serves it; '' when its socket was closed
``tried``                 zset     ``<id> <event>`` of the newest tries of webhooks, by their time, milliseconds
``given_up``              zset     the same of deliveries without a further try that were not delivered
``webs``                  zset     web processes with sockets by the time their lease lapses, milliseconds
``call:<key>:<request>``  hash     a held request: digest of its body, jobs, seed, holder; ``until`` (ms) its claim
                                   lapses; ``asked``, ``answered``: questions to its holder; ``stopped:<id>``: the
                                   picture that a stopped job had
``calls:<key>``           zset     held requests of a key that were not delivered, by time of arrival, milliseconds
``repeats:<key>:<d>``     set      held requests with this digest that an equal body may repeat
``swept_at``              string   time of the last sweep, milliseconds: one process sweeps per heartbeat
``usage:<key>:<period>``  hash     ``<day>|<model>`` → what the key used; 30 days each
``usage_keys``            zset     keys with such numbers, by the time when a day and model was added last, milliseconds
``lock:files``            string   held by the process that removes files
``nothing``               none     never exists; deleting it is how a script goes on without memory
``probe``                 string   written to find out whether Redis accepts writes; expires at once
========================  =======  =======================================================================

The scripts build key names from ids that they read, so this layout needs one Redis, not a cluster.
"""

from __future__ import annotations

from jobs.callers import NOBODY as NOBODY
from jobs.slots.slot import ALL_SLOTS

PREFIX = "framemill:"

#: Also ``task_keyprefix`` of the result backend.
JOB = PREFIX + "job:"
JOBS = PREFIX + "jobs"
VIDEOS = PREFIX + "videos"
STATE = PREFIX + "state:"
LANE = PREFIX + "lane:"
KEY_LANES = PREFIX + "lanes:"
READY = PREFIX + "ready:"
ORDER = PREFIX + "order:"
WAITING = PREFIX + "waiting"
WORK = PREFIX + "work"
SERVED = PREFIX + "served"
SERVED_WALK = PREFIX + "served_walk"
UNUSED = PREFIX + "unused"
ACTIVE = PREFIX + "active:"
RATES = PREFIX + "rates"
SLOTS = PREFIX + "slots"
SLOT = PREFIX + "slot:"
SLOT_HISTORY = PREFIX + "history:"
OFFERS = PREFIX + "offers"
MODEL_OFFERS = PREFIX + "offers:"
OFFER_SLOTS = PREFIX + "slots:"
IDLE = PREFIX + "idle:"
BUSY = PREFIX + "busy:"
WARM = PREFIX + "warm:"
UNFILLED = PREFIX + "unfilled"
VICTIMS = PREFIX + "victims:"
WARM_VICTIMS = PREFIX + "warm_victims:"
RESERVED = PREFIX + "reserved:"
PREEMPTORS = PREFIX + "preemptors"
STOPPING = PREFIX + "stopping"
PAUSED = PREFIX + "paused"
YIELDED = PREFIX + "yielded"
PINS = PREFIX + "pins"
LEASES = PREFIX + "leases"
RENEWALS = PREFIX + "renewals"
NODES = PREFIX + "nodes"
ASSIGNED = PREFIX + "assigned"
DELIVERING = PREFIX + "delivering"
AWAY = PREFIX + "away"
AWAY_WHY = PREFIX + "away_why"
NOT_BEFORE = PREFIX + "not_before"
DEADLINES = PREFIX + "deadlines"
EXPIRING = PREFIX + "expiring"
ENDS = PREFIX + "ends"
DUE = PREFIX + "due"
INPUTS = PREFIX + "inputs"
INPUT_USES = PREFIX + "input_uses"
DELETED = PREFIX + "deleted:"
FILES_BEGAN = PREFIX + "files_began"
FILE_WALK = PREFIX + "file_walk"
FILE_COUNTS = PREFIX + "file_counts"
DEAD = PREFIX + "dead"
PREVIEW = PREFIX + "preview:"
PROGRESS = PREFIX + "progress:"
PREVIEW_WANTED = PREFIX + "preview_wanted:"
LAYOUT = PREFIX + "layout"
COUNTERS = PREFIX + "counters"
MEASURES = PREFIX + "measures"
MEASURED = PREFIX + "measured"
BATCH = PREFIX + "batch:"
EVENTS = PREFIX + "events"
IDEMPOTENCY = PREFIX + "idempotency:"
REUSE = PREFIX + "reuse:"
FILE = PREFIX + "file:"
MINUTE = PREFIX + "minute:"
API_KEYS = PREFIX + "keys"
API_KEY_NAMES = PREFIX + "key_names"
LIMITS = PREFIX + "limits"
LINK_SECRET = PREFIX + "link_secret"
HELD_REQUEST = PREFIX + "call:"
HELD_REQUESTS = PREFIX + "calls:"
REPEATABLE_REQUESTS = PREFIX + "repeats:"
OPTIONS = PREFIX + "options:"
UPLOADS = PREFIX + "uploads:"
WEBHOOKS = PREFIX + "webhooks"
WEBHOOK_SECRETS = PREFIX + "webhook_secrets"
WEBHOOK_DELIVERIES = PREFIX + "hook:"
RECEIVER_DELIVERIES = PREFIX + "hooks:"
RECEIVERS = PREFIX + "receivers"
SUBSCRIBER_QUEUE = PREFIX + "mail:"
SUBSCRIBER_QUEUES = PREFIX + "mailboxes:"
WEBHOOKS_TRIED = PREFIX + "tried"
WEBHOOKS_GIVEN_UP = PREFIX + "given_up"
WEB_PROCESSES = PREFIX + "webs"
SESSION = PREFIX + "session:"
REQUESTS = PREFIX + "requests:"
SESSION_VARS = PREFIX + "session_vars:"
WORKER = PREFIX + "worker:"
WATCHED = PREFIX + "watched"
SWEPT_AT = PREFIX + "swept_at"
USAGE = PREFIX + "usage:"
USAGE_KEYS = PREFIX + "usage_keys"
FILES_LOCK = PREFIX + "lock:files"
#: Keys of version 0.2, see ``adopt_queue.lua``.
OLD_IDLE = PREFIX + "idle"
OLD_FAIR = PREFIX + "fair:"
OLD_MODELS = PREFIX + "models:"
#: A key that never exists.
NOTHING = PREFIX + "nothing"
#: Written to find out whether Redis accepts writes; expires at once.
PROBE = PREFIX + "probe"

#: The line of jobs pinned to a slot is the slot's name behind this.
PIN = "@"
#: The same for jobs of a class that takes no turns (off-peak): they come after all others.
LATE_PIN = "~"
#: The line of jobs that were moved to the front.
FRONT = "!"
#: The member of ``paused`` that stands for the whole queue.
ALL = ALL_SLOTS
#: Beginnings of the names of stored objects: ``inputs/<sha256>.<token>.<ending>``, ``outputs/<id>/…``,
#: ``checkpoints/<id>/…``.
INPUT_OBJECTS = "inputs/"
OUTPUT_OBJECTS = "outputs/"
CHECKPOINT_OBJECTS = "checkpoints/"
