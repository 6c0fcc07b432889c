-- The jobs that wait, by lane. A lane is one sorted set of jobs by priority and age: '<class>|<key>|<model>' for most
-- jobs, '@<slot>' for jobs pinned to a slot, '!<model>' for jobs that an operator moved to the front.
-- include: common

-- Higher priorities come first, then older jobs.
local function score_of(priority, sequence)
  return string.format('%.0f', sequence - 1e12 * (tonumber(priority) or 0))
end

-- Whether classes and keys take turns for the jobs of this lane. Pinned jobs and jobs at the front skip the turns.
local function takes_turns(lane)
  local first = lane:sub(1, 1)
  return first ~= K.PIN and first ~= K.FRONT
end

-- A class that returns starts level with the others: turns that it did not use are not saved up.
local function level_class(class)
  local pass = tonumber(redis.call('HGET', K.SERVED, 'pass:' .. class) or 0)
  pass = math.max(pass, tonumber(redis.call('HGET', K.SERVED, 'v') or 0))
  redis.call('HSET', K.SERVED, 'pass:' .. class, string.format('%.0f', pass))
end

-- The same for a key within its class.
local function level_key(class, key)
  local who = class .. '|' .. key
  local served = tonumber(redis.call('HGET', K.SERVED, who) or 0)
  served = math.max(served, tonumber(redis.call('HGET', K.SERVED, 'v:' .. class) or 0))
  redis.call('HSET', K.SERVED, who, tostring(served))
  redis.call('ZADD', K.FAIR .. class, tostring(served), key)
end

local function enqueue(id)
  local record = redis.call('HMGET', K.JOB .. id, 'lane', 'sequence', 'work', 'priority', 'model', 'class', 'key',
    'start_by')
  local lane, sequence, work, priority, model, class, key, start_by = unpack(record)
  redis.call('ZADD', K.LANE .. lane, score_of(priority, sequence), id)
  redis.call('HINCRBY', K.WAITING, 'model:' .. model, 1)
  redis.call('HINCRBYFLOAT', K.WORK, model, work)
  if has(start_by) then redis.call('ZADD', K.DEADLINES, start_by, id) end
  if not takes_turns(lane) then return end
  local who = class .. '|' .. key
  redis.call('SADD', K.KEY_MODELS .. who, model)
  redis.call('HINCRBY', K.WAITING, who, 1)
  if redis.call('HINCRBY', K.WAITING, 'class:' .. class, 1) == 1 then level_class(class) end
  if not redis.call('ZSCORE', K.FAIR .. class, key) then level_key(class, key) end
end

-- Subtract from a counter and remove it at zero. Sums of fractions may end a little above zero.
local function count_down(hash, field, by)
  if tonumber(redis.call('HINCRBYFLOAT', hash, field, -by)) <= 1e-9 then redis.call('HDEL', hash, field) end
end

-- Take a job out of the queue. Does nothing for a job that does not wait.
local function dequeue(id)
  local record = redis.call('HMGET', K.JOB .. id, 'lane', 'work', 'model', 'class', 'key')
  local lane, work, model, class, key = unpack(record)
  if not lane or redis.call('ZREM', K.LANE .. lane, id) == 0 then return end
  redis.call('ZREM', K.DEADLINES, id)
  count_down(K.WORK, model, work)
  count_down(K.WAITING, 'model:' .. model, 1)
  if redis.call('HEXISTS', K.WAITING, 'model:' .. model) == 0 then redis.call('HDEL', K.WORK, model) end
  if not takes_turns(lane) then return end
  local who = class .. '|' .. key
  count_down(K.WAITING, who, 1)
  count_down(K.WAITING, 'class:' .. class, 1)
  if redis.call('EXISTS', K.LANE .. lane) == 0 then redis.call('SREM', K.KEY_MODELS .. who, model) end
  if redis.call('HEXISTS', K.WAITING, who) == 0 then redis.call('ZREM', K.FAIR .. class, key) end
end
