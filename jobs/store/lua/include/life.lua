-- What happens to a job: bound, freed, ended, lost. Shared by all scripts, after files.lua.

-- A slot whose worker pulls its jobs over HTTP: nothing is pushed to it, and it gets a job only while it is `open`, that
-- is, while a call of its worker waits for one.
local function pulls(slot)
  return redis.call('HEXISTS', K.SLOT .. slot, 'pulls') == 1
end

-- Renew a slot's lease. A slot that pulls is silent for longer: while it computes, and between two of its calls.
local function renew(slot)
  local facts = redis.call('HMGET', K.SLOT .. slot, 'pulls', 'job', 'open', 'away_lease_ms')
  local lasts_ms = CFG.lease_ms
  if has(facts[1]) and not has(facts[3]) then
    lasts_ms = has(facts[2]) and job_get(facts[2], 'max_silence_ms') or facts[4]
  end
  redis.call('ZADD', K.LEASES, int(now_ms() + lasts_ms), slot)
end

-- Put the job's message into its slot's queue, as kombu does it.
local function send(id, attempt, slot)
  if MESSAGE == '' or pulls(slot) then return end
  local gaps = {['@I@'] = id, ['@A@'] = attempt, ['@R@'] = int(attempt - 1), ['@S@'] = slot}
  redis.call('LPUSH', slot, (MESSAGE:gsub('@%a@', gaps)))
end

local function bind(slot, id)
  take_turn(id, slot)
  dequeue(id)
  redis.call('SREM', K.IDLE, slot)
  local attempt = int(redis.call('HINCRBY', K.JOB .. id, 'attempt', 1))
  local now = now_ms()
  redis.call('HSET', K.JOB .. id, 'slot', slot, 'assigned_at', int(now))
  redis.call('HSET', K.SLOT .. slot, 'job', id, 'attempt', attempt)
  redis.call('HDEL', K.SLOT .. slot, 'open')  -- of a slot that pulls: one job for each call
  redis.call('ZADD', K.ASSIGNED, int(now + CFG.resend_after_ms), id)
  emit(id)
  send(id, attempt, slot)
  return {id, attempt, slot}
end

-- Jobs that this script ended, {id, state}: the caller announces them.
local ended = {}

local function forget_previews(id)
  redis.call('DEL', K.PREVIEW .. id, K.PROGRESS .. id)
  redis.call('HDEL', K.JOB .. id, 'preview_step')
end

local function finish(id, state)
  table.insert(ended, {id, state})
  local now = now_ms()
  dequeue(id)
  redis.call('ZREM', K.ASSIGNED, id)
  redis.call('ZREM', K.DELIVERING, id)
  forget_previews(id)
  redis.call('DEL', K.PREVIEW_WANTED .. id)
  set_state(id, state)
  redis.call('HDEL', K.JOB .. id, 'stage', 'stage_percent', 'eta_s', 'delivery_owner', 'deliveries', 'failures', 'next_look_at', 'node_gone_at',
    'assigned_at',
    'lane', 'sequence', 'node', 'run', 'skips', 'skipped_at', 'start_by', 'handed_back')
  redis.call('HSET', K.JOB .. id, 'finished_at', int(now))
  redis.call('HINCRBY', K.COUNTERS, state, 1)
  retain(id, state, now)
  emit(id)
end

local function fail(id, code, message)
  redis.call('HSET', K.JOB .. id, 'error', cjson.encode({code = code, message = message}))
  finish(id, 'failed')
end

local function expire(id)
  redis.call('HSET', K.JOB .. id, 'error', cjson.encode({code = 'expired', message = 'not started before its deadline'}))
  finish(id, 'expired')
end

feed = function(slot)
  local names = {'owner', 'job', 'draining', 'suspect_at', 'blocked', 'pulls', 'open'}
  local facts = redis.call('HMGET', K.SLOT .. slot, unpack(names))
  if not has(facts[1]) or has(facts[2]) then return nil end
  local closed = has(facts[6]) and not has(facts[7])
  if closed or has(facts[3]) or has(facts[4]) or has(facts[5]) then redis.call('SREM', K.IDLE, slot) return nil end
  if redis.call('SISMEMBER', K.PAUSED, K.ALL) == 0 and redis.call('SISMEMBER', K.PAUSED, slot) == 0 then
    local id = pick(slot)
    while id do
      local start_by = job_get(id, 'start_by')
      if not has(start_by) or tonumber(start_by) > now_ms() then return bind(slot, id) end
      expire(id)
      id = pick(slot)
    end
  end
  redis.call('SADD', K.IDLE, slot)
  return nil
end

-- Feed every idle slot, those that have the wanted model in memory first. Returns a list of bindings.
local function feed_idle(model)
  local first, rest = {}, {}
  for _, slot in ipairs(redis.call('SMEMBERS', K.IDLE)) do
    local resident = ',' .. (model and redis.call('HGET', K.SLOT .. slot, 'resident') or '') .. ','
    local warm = model and resident:find(',' .. model .. ',', 1, true)
    table.insert(warm and first or rest, slot)
  end
  for _, slot in ipairs(rest) do table.insert(first, slot) end
  local bindings = {}
  for _, slot in ipairs(first) do
    local binding = feed(slot)
    if binding then table.insert(bindings, binding) end
  end
  return bindings
end

-- Back to its own place in the queue (the sequence number is kept, so younger jobs stay behind it).
local function requeue(id)
  settle(id, 0)
  redis.call('HDEL', K.JOB .. id, 'slot', 'device', 'run', 'assigned_at', 'started_at', 'stage', 'stage_percent', 'step', 'eta_s',
    'computed_at', 'node', 'run_s', 'delivery_owner', 'deliveries', 'failures', 'next_look_at', 'node_gone_at')
  redis.call('ZREM', K.ASSIGNED, id)
  redis.call('ZREM', K.DELIVERING, id)
  forget_previews(id)
  set_state(id, 'queued')
  enqueue(id)
  emit(id)
end

-- The slot is done with this attempt. Returns the bindings that follow.
local function release(slot, id, attempt)
  local facts = redis.call('HMGET', K.SLOT .. slot, 'job', 'attempt')
  if facts[1] ~= id or facts[2] ~= tostring(attempt) then return {} end
  settle(id, elapsed_s(id))
  redis.call('HDEL', K.SLOT .. slot, 'job', 'attempt')
  if pulls(slot) then renew(slot) end
  -- Its record says it should run: Redis lost its last moments, and with them the start or the end of this run.
  local live = (owns(id, attempt, 'queued') or owns(id, attempt, 'running')) and has(job_get(id, 'slot'))
  if live then requeue(id) end
  local bindings = list_of(feed(slot))
  -- It waits again, or its key may run one more: either may need another slot than this one.
  if live or redis.call('HEXISTS', K.LIMITS, job_get(id, 'key')) == 1 then
    for _, binding in ipairs(feed_idle()) do table.insert(bindings, binding) end
  end
  if has(job_get(id, 'deleted')) then drop(id) end  -- it was only waited for its worker
  return bindings
end

-- The worker that had this attempt is gone: run the job again, or give it up.
local function lose(id, attempt)
  local record = redis.call('HMGET', K.JOB .. id, 'state', 'attempt', 'starts', 'slot')
  if record[2] ~= tostring(attempt) or not has(record[4]) then return end  -- older, or lost already and waiting again
  if record[1] ~= 'queued' and record[1] ~= 'running' then return settle(id, elapsed_s(id)) end
  -- A worker that breaks before it even starts the run must not turn in a circle for ever.
  if tonumber(record[3] or 0) >= CFG.max_attempts or tonumber(attempt) >= 10 * CFG.max_attempts then
    settle(id, elapsed_s(id))
    local why = job_get(id, 'handed_back')
    fail(id, 'worker_lost', 'the worker died in each of ' .. attempt .. ' attempts' .. (has(why) and ': ' .. why or ''))
    redis.call('ZADD', K.DEAD, int(now_ms()), id)
  else
    requeue(id)
  end
end
