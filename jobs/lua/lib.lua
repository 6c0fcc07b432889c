-- What all scripts share. Above it the store puts K (key names, jobs/keys.py) and CFG (limits in ms).
-- A binding is {job_id, attempt, slot}: the caller must send that job to that slot's queue.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function int(number)
  return string.format('%d', number)
end

local function job_get(id, field)
  return redis.call('HGET', K.JOB .. id, field)
end

-- HGET gives false for a missing field; '' is stored for "none".
local function has(value)
  return value and value ~= ''
end

local function emit(id)
  local names = {'state', 'attempt', 'slot', 'device', 'stage', 'step', 'steps', 'eta_s'}
  local values = redis.call('HMGET', K.JOB .. id, unpack(names))
  local event = {task_id = id}
  for i, name in ipairs(names) do
    if has(values[i]) then event[name] = values[i] end
  end
  local text = cjson.encode(event)
  redis.call('PUBLISH', K.JOB .. id, text)
  redis.call('PUBLISH', K.EVENTS, text)
end

local function set_state(id, new)
  local record = redis.call('HMGET', K.JOB .. id, 'state', 'created_at')
  if has(record[1]) then redis.call('ZREM', K.STATE .. record[1], id) end
  redis.call('ZADD', K.STATE .. new, record[2], id)
  redis.call('HSET', K.JOB .. id, 'state', new)
end

local function enqueue(id)
  local record = redis.call('HMGET', K.JOB .. id, 'lane', 'sequence', 'work')
  redis.call('SADD', K.LANES, record[1])
  redis.call('ZADD', K.LANE .. record[1], record[2], id)
  redis.call('HINCRBYFLOAT', K.WORK, record[1], record[3])
end

local function dequeue(id)
  local record = redis.call('HMGET', K.JOB .. id, 'lane', 'work')
  if redis.call('ZREM', K.LANE .. record[1], id) == 1 then
    if redis.call('EXISTS', K.LANE .. record[1]) == 1 then
      redis.call('HINCRBYFLOAT', K.WORK, record[1], -record[2])
    else
      redis.call('HDEL', K.WORK, record[1])  -- no rounding error outlives an empty lane
    end
  end
end

-- The job this slot should run next: pinned ones first, then the oldest of the models it can run.
local function pick(slot)
  local pinned = redis.call('ZRANGE', K.LANE .. K.PIN .. slot, 0, 0)[1]
  if pinned then return pinned end
  local best, best_sequence
  for _, model in ipairs(cjson.decode(redis.call('HGET', K.SLOT .. slot, 'models'))) do
    local head = redis.call('ZRANGE', K.LANE .. model, 0, 0, 'WITHSCORES')
    if head[1] and (not best or tonumber(head[2]) < best_sequence) then
      best, best_sequence = head[1], tonumber(head[2])
    end
  end
  return best
end

local function bind(slot, id)
  dequeue(id)
  redis.call('SREM', K.IDLE, slot)
  local attempt = int(redis.call('HINCRBY', K.JOB .. id, 'attempt', 1))
  local now = now_ms()
  redis.call('HSET', K.JOB .. id, 'slot', slot, 'assigned_at', int(now))
  redis.call('HSET', K.SLOT .. slot, 'job', id, 'attempt', attempt)
  redis.call('ZADD', K.ASSIGNED, int(now + CFG.resend_after_ms), id)
  emit(id)
  return {id, attempt, slot}
end

-- Give a slot its next job, or note that it is idle. Returns a binding or nil.
local function feed(slot)
  local facts = redis.call('HMGET', K.SLOT .. slot, 'owner', 'job', 'draining')
  if not has(facts[1]) or has(facts[2]) then return nil end
  if has(facts[3]) then redis.call('SREM', K.IDLE, slot) return nil end
  local id = pick(slot)
  if id then return bind(slot, id) end
  redis.call('SADD', K.IDLE, slot)
  return nil
end

-- Feed every idle slot. Returns a list of bindings.
local function feed_idle()
  local bindings = {}
  for _, slot in ipairs(redis.call('SMEMBERS', K.IDLE)) do
    local binding = feed(slot)
    if binding then table.insert(bindings, binding) end
  end
  return bindings
end

-- The slot is done with this attempt. Returns the slot's next binding or nil.
local function release(slot, id, attempt)
  local facts = redis.call('HMGET', K.SLOT .. slot, 'job', 'attempt')
  if facts[1] ~= id or facts[2] ~= tostring(attempt) then return nil end
  redis.call('HDEL', K.SLOT .. slot, 'job', 'attempt')
  return feed(slot)
end

local function forget_run(id)
  redis.call('HDEL', K.JOB .. id, 'slot', 'device', 'run', 'assigned_at', 'started_at', 'stage', 'step', 'steps',
    'eta_s', 'computed_at', 'node', 'run_s', 'delivery_owner', 'deliveries', 'next_look_at')
  redis.call('ZREM', K.ASSIGNED, id)
  redis.call('ZREM', K.DELIVERING, id)
end

-- Back to its own place in the queue (the sequence number is kept, so younger jobs stay behind it).
local function requeue(id)
  forget_run(id)
  set_state(id, 'queued')
  enqueue(id)
  emit(id)
end

local function finish(id, state)
  local now = now_ms()
  dequeue(id)
  redis.call('ZREM', K.ASSIGNED, id)
  redis.call('ZREM', K.DELIVERING, id)
  set_state(id, state)
  redis.call('HDEL', K.JOB .. id, 'stage', 'eta_s', 'delivery_owner', 'deliveries', 'next_look_at', 'assigned_at',
    'lane', 'sequence', 'node', 'run')
  redis.call('HSET', K.JOB .. id, 'finished_at', int(now))
  redis.call('HINCRBY', K.COUNTERS, state, 1)
  redis.call('ZADD', K.EXPIRING, int(now + CFG.result_ttl_ms), id)
  emit(id)
end

local function fail(id, code, message)
  redis.call('HSET', K.JOB .. id, 'error', cjson.encode({code = code, message = message}))
  finish(id, 'failed')
end

-- The worker that had this attempt is gone: run the job again, or give it up.
local function lose(id, attempt)
  local record = redis.call('HMGET', K.JOB .. id, 'state', 'attempt', 'starts')
  if record[2] ~= tostring(attempt) or (record[1] ~= 'queued' and record[1] ~= 'running') then return end
  -- A worker that breaks before it even starts the run must not turn in a circle for ever.
  if tonumber(record[3] or 0) >= CFG.max_attempts or tonumber(attempt) >= 10 * CFG.max_attempts then
    fail(id, 'worker_lost', 'the worker died in each of ' .. attempt .. ' attempts')
    redis.call('ZADD', K.DEAD, int(now_ms()), id)
  else
    requeue(id)
  end
end

local function owns(id, attempt, state)
  local record = redis.call('HMGET', K.JOB .. id, 'state', 'attempt')
  return record[1] == state and record[2] == tostring(attempt)
end

local function list_of(binding)
  if binding then return {binding} end
  return {}
end
