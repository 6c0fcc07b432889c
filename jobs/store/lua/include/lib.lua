-- What all scripts share. Above it the store puts K (key names, jobs/store/keys.py) and CFG (limits in ms, weights).
-- A binding is {job_id, attempt, slot}: that job was sent to that slot's queue.

-- All that a script does, it does at one time: what it writes in two places agrees.
local script_time_ms

local function now_ms()
  if not script_time_ms then
    local time = redis.call('TIME')
    script_time_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  return script_time_ms
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

-- ``preview``: the step of a picture that has just come.
local function emit(id, preview)
  local names = {'state', 'attempt', 'slot', 'device', 'stage', 'stage_percent', 'step', 'steps', 'eta_s', 'key', 'mailbox'}
  local values = redis.call('HMGET', K.JOB .. id, unpack(names))
  local event = {task_id = id, preview = preview}
  for i, name in ipairs(names) do
    if has(values[i]) then event[name] = values[i] end
  end
  local text = cjson.encode(event)
  local event_id = redis.call('XADD', K.EVENTS, 'MAXLEN', '~', CFG.event_log_length, '*', 'event', text)
  redis.call('PUBLISH', K.EVENTS, event_id .. ' ' .. text)
  redis.call('PUBLISH', K.JOB .. id, text)  -- whom Celery's AsyncResult.get() waits for
end

-- Defined in hooks.lua and mail.lua.
local note_hook, note_mail

local function set_state(id, new)
  local record = redis.call('HMGET', K.JOB .. id, 'state', 'created_at', 'key', 'webhook', 'mailbox')
  if has(record[1]) then
    redis.call('ZREM', K.STATE .. record[1], id)
    redis.call('ZREM', K.STATE .. record[1] .. ':' .. record[3], id)
  end
  redis.call('ZADD', K.STATE .. new, record[2], id)
  if record[3] ~= K.NOBODY then redis.call('ZADD', K.STATE .. new .. ':' .. record[3], record[2], id) end
  redis.call('HSET', K.JOB .. id, 'state', new)
  if has(record[4]) then note_hook(id, record[3], record[4], new) end
  if has(record[5]) then note_mail(id, record[3], record[5], new) end
end

-- Measured seconds per unit of work of a model: on this slot's kind of device, else on any; false before the first.
local function rate_of(model, slot)
  local device = slot and redis.call('HGET', K.SLOT .. slot, 'device_name')
  return has(device) and redis.call('HGET', K.RATES, model .. '|' .. device) or redis.call('HGET', K.RATES, model)
end

local function owns(id, attempt, state)
  local record = redis.call('HMGET', K.JOB .. id, 'state', 'attempt')
  return record[1] == state and record[2] == tostring(attempt)
end

local function list_of(binding)
  if binding then return {binding} end
  return {}
end

-- Give a slot its next job, or note that it is idle. Returns a binding or nil.
local feed
