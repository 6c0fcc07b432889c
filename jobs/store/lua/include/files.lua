-- Stored objects, who needs them, and until when. Shared by all scripts, after queue.lua.
-- DUE holds what may be removed by the time that it may; a name that ends in '/' stands for all objects below it.
-- The name of an input is used for one stay only: once taken for removal it is never given out again, so that a
-- removal that comes late cannot hit the same image sent again.

local function outputs_of(id)
  return K.OUTPUT_OBJECTS .. id .. '/'
end

local function discard(name, at)
  redis.call('ZADD', K.DUE, 'LT', int(at), name)
end

-- All files of a job, that under a name of its own included.
local function discard_outputs(id, at)
  discard(outputs_of(id), at)
  local alias = job_get(id, 'alias')
  if has(alias) then discard(alias, at) end
end

local function digest_of(name)
  return name:match('^' .. K.INPUT_OBJECTS .. '(%x+)%.') or ''
end

-- Whether an input is stored, or about to be, and not being removed.
local function is_kept(name)
  return redis.call('HGET', K.INPUTS, digest_of(name)) == name
end

local function use_inputs(names)
  for name in names:gmatch('%S+') do redis.call('HINCRBY', K.INPUT_USES, name, 1) end
end

-- The job does not need its inputs any more. An upload of the same image that was not submitted yet keeps its grace.
local function free_inputs(id)
  for name in (job_get(id, 'inputs') or ''):gmatch('%S+') do
    if redis.call('HINCRBY', K.INPUT_USES, name, -1) <= 0 then
      redis.call('HDEL', K.INPUT_USES, name)
      redis.call('ZADD', K.DUE, 'NX', int(now_ms()), name)
    end
  end
  redis.call('HDEL', K.JOB .. id, 'inputs')
end

-- A job is over: how long its files are kept, or its record if it has none. `stored`: a delivery may have stored files.
local function retain(id, state, now)
  local record = redis.call('HMGET', K.JOB .. id, 'outputs', 'retention', 'stored')
  redis.call('HDEL', K.JOB .. id, 'stored')
  if state == 'succeeded' and has(record[1]) then
    local kept_ms = CFG.retention_ms[record[2]]  -- none: until it is deleted
    if not kept_ms then return end
    redis.call('HSET', K.JOB .. id, 'expires_at', int(now + kept_ms))
    discard_outputs(id, now + kept_ms)
    return
  end
  if has(record[3]) then discard_outputs(id, now + CFG.files_grace_ms) end
  redis.call('ZADD', K.EXPIRING, int(now + CFG.result_ttl_ms), id)
end

-- Its worker has not stopped yet, so that its record is needed.
local function is_held(id)
  local slot = job_get(id, 'slot')
  return has(slot) and redis.call('HGET', K.SLOT .. slot, 'job') == id
end

-- Forget a job that is over, and give up its files. The id of one that was deleted stays taken for a while.
local function drop(id)
  local record = redis.call('HMGET', K.JOB .. id, 'state', 'key', 'outputs', 'deleted', 'webhook', 'path')
  if record[1] then
    for _, index in ipairs({K.STATE .. record[1], K.JOBS}) do
      redis.call('ZREM', index, id)
      redis.call('ZREM', index .. ':' .. record[2], id)
    end
    free_inputs(id)
    if has(record[3]) then discard_outputs(id, now_ms()) end
    if has(record[4]) then redis.call('SET', K.DELETED .. id, record[2], 'PX', int(CFG.result_ttl_ms)) end
    if has(record[5]) then forget_hooks(id, record[2], record[5]) end
    if has(record[6]) then redis.call('DEL', K.FILE .. record[2] .. ':' .. record[6]) end
    redis.call('DEL', K.JOB .. id)
  end
  redis.call('ZREM', K.DEAD, id)
  redis.call('ZREM', K.EXPIRING, id)
end

local function is_over(state)
  return state and state ~= 'queued' and state ~= 'running' and state ~= 'delivering'
end
