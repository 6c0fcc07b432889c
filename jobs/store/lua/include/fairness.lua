-- Whose turn it is.
--
-- Between classes: stride scheduling. Each job taken moves the "pass" of its class on by the stride of the class, which
-- is the smaller the heavier the class. The class with the smallest pass is next.
-- Within a class: start-time fair queueing over API keys. Each job adds its GPU seconds to what its key was served:
-- estimated when the job is bound, corrected when the run ends. The key that was served least is next.
-- include: common, queue, rates

-- Strides are whole numbers, so that equal passes compare as equal.
local function stride_of(class)
  local product = 1
  for _, weight in pairs(CLASS_WEIGHTS) do product = product * weight end
  return product / (CLASS_WEIGHTS[class] or 1)
end

local function pass_of(class)
  return tonumber(redis.call('HGET', K.SERVED, 'pass:' .. class) or 0)
end

-- Whether a class goes before another one when their passes are equal.
local function wins_tie(class, other)
  local weight, other_weight = CLASS_WEIGHTS[class], CLASS_WEIGHTS[other]
  if weight ~= other_weight then return weight > other_weight end
  return class < other
end

-- Whether a key is below its limit of jobs that hold a slot at once.
local function may_run_more(key)
  local limit = redis.call('HGET', K.LIMITS, key)
  return not limit or redis.call('SCARD', K.ACTIVE .. key) < tonumber(limit)
end

-- Add GPU seconds to what a key was served.
local function charge(class, key, seconds)
  local served = redis.call('HINCRBYFLOAT', K.SERVED, class .. '|' .. key, string.format('%.6f', seconds))
  redis.call('ZADD', K.FAIR .. class, 'XX', served, key)
end

-- A job is being bound: move its class on and charge its key an estimate.
local function take_turn(id, slot)
  local record = redis.call('HMGET', K.JOB .. id, 'class', 'key', 'model', 'work', 'lane')
  local class, key, model, work, lane = unpack(record)
  redis.call('SADD', K.ACTIVE .. key, id)
  local rate = tonumber(rate_of(model, slot) or 0)
  local seconds = rate > 0 and rate * work or 1
  redis.call('HSET', K.JOB .. id, 'charged', string.format('%.6f', seconds))
  if takes_turns(lane) then
    redis.call('HSET', K.SERVED, 'v:' .. class, redis.call('HGET', K.SERVED, class .. '|' .. key) or 0)
    redis.call('HSET', K.SERVED, 'v', redis.call('HGET', K.SERVED, 'pass:' .. class) or 0)
    redis.call('HINCRBYFLOAT', K.SERVED, 'pass:' .. class, string.format('%.0f', stride_of(class)))
  end
  charge(class, key, seconds)
end

-- A run has ended after `seconds`: correct the estimate that take_turn charged.
local function settle_charge(id, seconds)
  local class, key, charged = unpack(redis.call('HMGET', K.JOB .. id, 'class', 'key', 'charged'))
  redis.call('SREM', K.ACTIVE .. key, id)
  if has(charged) then
    charge(class, key, seconds - charged)
    redis.call('HDEL', K.JOB .. id, 'charged')
  end
end
