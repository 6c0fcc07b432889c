-- Slots: their facts, their leases, and whether one may take work.
-- include: common, records

-- Whether the slot's worker fetches its jobs over HTTP. Nothing is sent to such a slot; it gets a job only while it is
-- open, that is, while a request of its worker waits for one.
local function pulls(slot)
  return redis.call('HEXISTS', K.SLOT .. slot, 'pulls') == 1
end

-- Renew a slot's lease. A slot that pulls may be silent for longer while it computes and between two requests.
local function renew_lease(slot)
  local facts = redis.call('HMGET', K.SLOT .. slot, 'pulls', 'job', 'open', 'away_lease_ms')
  local pulling, job, open, away_lease_ms = unpack(facts)
  local lease_ms = CFG.lease_ms
  if has(pulling) and not has(open) then lease_ms = has(job) and job_get(job, 'max_silence_ms') or away_lease_ms end
  redis.call('ZADD', K.LEASES, int(now_ms() + lease_ms), slot)
end

-- What decides whether a slot may take work: facts[JOB] and so on, as HGET returns them.
local OWNER, JOB, MODELS, DRAINING, SUSPECT_AT, BLOCKED, PULLS, OPEN = 1, 2, 3, 4, 5, 6, 7, 8
local function slot_facts(slot)
  return redis.call('HMGET', K.SLOT .. slot, 'owner', 'job', 'models', 'draining', 'suspect_at', 'blocked', 'pulls',
    'open')
end

local function can_run(facts, model)
  for _, name in ipairs(cjson.decode(facts[MODELS] or '[]')) do
    if name == model then return true end
  end
  return false
end

local queue_paused

-- Whether an operator paused the whole queue. It is asked once for all slots that a script looks at.
local function is_queue_paused()
  if queue_paused == nil then queue_paused = redis.call('SISMEMBER', K.PAUSED, K.ALL) == 1 end
  return queue_paused
end

-- Why a slot takes no new job beside the one that it may hold; nil when it does. Only this function decides it.
-- A slot that is merely closed opens with the next request of its worker, so it comes last.
local function obstacle_of(slot, facts)
  if not has(facts[OWNER]) then return OBSTACLE.ABSENT end
  if has(facts[DRAINING]) then return OBSTACLE.DRAINING end
  if has(facts[SUSPECT_AT]) then return OBSTACLE.SUSPECT end
  if redis.call('SISMEMBER', K.PAUSED, slot) == 1 then return OBSTACLE.PAUSED end
  if has(facts[BLOCKED]) then return OBSTACLE.BLOCKED end
  if is_queue_paused() then return OBSTACLE.QUEUE_PAUSED end
  if has(facts[PULLS]) and not has(facts[OPEN]) then return OBSTACLE.CLOSED end
end
