-- Slots: their leases, and whether one may take work.
-- include: common, records

-- How a slot stands that may get jobs, now or later.
local USABLE, IS_PAUSED, IS_BLOCKED = '0', '1', '2'

-- Renew a slot's lease. A slot that pulls may be silent for longer while it computes and between two requests.
local function renew_lease(slot)
  local record, lease_ms = slot_of(slot), CFG.lease_ms
  if has(record.pulls) and not has(record.open) then
    lease_ms = has(record.job) and field_of(K.JOB .. record.job, 'max_silence_ms') or record.away_lease_ms
  end
  redis.call('ZADD', K.LEASES, int(now_ms() + lease_ms), slot)
end

-- Write facts (field, value, …) that a worker announced.
local function set_facts(slot, facts)
  local record = slot_of(slot)
  for i = 1, #facts, 2 do
    if record[facts[i]] ~= facts[i + 1] then set_slot(slot, {[facts[i]] = facts[i + 1]}) end
  end
end

local paused = {}

-- Whether an operator paused a slot, or the whole queue (K.ALL).
local function is_paused(name)
  if paused[name] == nil then paused[name] = redis.call('SISMEMBER', K.PAUSED, name) == 1 end
  return paused[name]
end

-- Why a slot takes no new job beside the one that it may hold; nil when it does, unless the whole queue is paused. Only
-- this function decides it. A slot whose worker fetches its jobs over HTTP gets one only while it is open, that is,
-- while a request of its worker waits for one. It opens with the next request, so being closed comes last.
local function obstacle_of(slot)
  local record = slot_of(slot)
  if not has(record.owner) then return OBSTACLE.ABSENT end
  if has(record.draining) then return OBSTACLE.DRAINING end
  if has(record.suspect_at) then return OBSTACLE.SUSPECT end
  if is_paused(slot) then return OBSTACLE.PAUSED end
  if has(record.blocked) then return OBSTACLE.BLOCKED end
  if has(record.pulls) and not has(record.open) then return OBSTACLE.CLOSED end
end

-- Lists of models by their JSON.
local models_decoded = {}

-- The models that a slot runs; not to be changed.
local function models_of(slot)
  local models = slot_of(slot).models or '[]'
  models_decoded[models] = models_decoded[models] or cjson.decode(models)
  return models_decoded[models]
end

local function can_run(slot, model)
  return set_of(models_of(slot))[model]
end

-- The models that a slot has in memory and runs, as a set.
local function warm_models(slot)
  local warm, runs = {}, set_of(models_of(slot))
  for model in string.gmatch(slot_of(slot).resident or '', '[^,]+') do warm[model] = runs[model] end
  return warm
end
