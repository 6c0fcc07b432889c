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

-- What decides whether a slot may take work, as HGET returns it.
local function slot_facts(slot)
  local values = redis.call('HMGET', K.SLOT .. slot, 'owner', 'job', 'models', 'draining', 'suspect_at', 'blocked',
    'pulls', 'open')
  return {owner = values[1], job = values[2], models = values[3], draining = values[4], suspect_at = values[5],
    blocked = values[6], pulls = values[7], open = values[8]}
end

local function can_run(facts, model)
  return set_of(cjson.decode(facts.models or '[]'))[model]
end

-- Why a slot takes no new job beside the one that it may hold; nil when it does. Only this function decides it.
-- A slot that is merely closed opens with the next request of its worker, so it comes last.
local function obstacle_of(slot, facts)
  if not has(facts.owner) then return OBSTACLE.ABSENT end
  if has(facts.draining) then return OBSTACLE.DRAINING end
  if has(facts.suspect_at) then return OBSTACLE.SUSPECT end
  local is_paused = redis.call('SMISMEMBER', K.PAUSED, slot, K.ALL)
  if is_paused[1] == 1 then return OBSTACLE.PAUSED end
  if has(facts.blocked) then return OBSTACLE.BLOCKED end
  if is_paused[2] == 1 then return OBSTACLE.QUEUE_PAUSED end
  if has(facts.pulls) and not has(facts.open) then return OBSTACLE.CLOSED end
end
