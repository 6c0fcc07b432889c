-- The waiting room: who waits, and who is next. Shared by all scripts, after lib.lua.
--
-- Between the classes: stride scheduling. Each job taken moves its class's "pass" on by its stride, which is the smaller
-- the heavier the class; the class with the smaller pass is next. Within a class: start-time fair queueing over keys. Each job moves its key's "served" on by its
-- GPU seconds (estimated when bound, corrected when it ended); the key served least is next. A class or key that
-- returns starts level with the others: what it did not use is not saved up.

local function score_of(priority, sequence)
  return string.format('%.0f', sequence - 1e12 * (tonumber(priority) or 0))
end

local function is_shared(lane)  -- not a pin, not moved to the front
  local first = lane:sub(1, 1)
  return first ~= K.PIN and first ~= K.FRONT
end

-- Whole numbers, so that equal passes are exactly equal.
local function stride_of(class)
  local product = 1
  for _, weight in pairs(CFG.weights) do product = product * weight end
  return product / (CFG.weights[class] or 1)
end

local function enqueue(id)
  local r = redis.call('HMGET', K.JOB .. id, 'lane', 'sequence', 'work', 'priority', 'model', 'class', 'key', 'start_by')
  local lane, model, class, key = r[1], r[5], r[6], r[7]
  redis.call('ZADD', K.LANE .. lane, score_of(r[4], r[2]), id)
  redis.call('HINCRBY', K.WAITING, 'model:' .. model, 1)
  redis.call('HINCRBYFLOAT', K.WORK, model, r[3])
  if has(r[8]) then redis.call('ZADD', K.DEADLINES, r[8], id) end
  if not is_shared(lane) then return end
  local who = class .. '|' .. key
  redis.call('SADD', K.KEY_MODELS .. who, model)
  redis.call('HINCRBY', K.WAITING, who, 1)
  if redis.call('HINCRBY', K.WAITING, 'class:' .. class, 1) == 1 then
    local pass = tonumber(redis.call('HGET', K.SERVED, 'pass:' .. class) or 0)
    pass = math.max(pass, tonumber(redis.call('HGET', K.SERVED, 'v') or 0))
    redis.call('HSET', K.SERVED, 'pass:' .. class, string.format('%.0f', pass))
  end
  if not redis.call('ZSCORE', K.FAIR .. class, key) then
    local served = tonumber(redis.call('HGET', K.SERVED, who) or 0)
    served = math.max(served, tonumber(redis.call('HGET', K.SERVED, 'v:' .. class) or 0))
    redis.call('HSET', K.SERVED, who, tostring(served))
    redis.call('ZADD', K.FAIR .. class, tostring(served), key)
  end
end

local function count_down(hash, field, by)
  if tonumber(redis.call('HINCRBYFLOAT', hash, field, -by)) <= 1e-9 then redis.call('HDEL', hash, field) end
end

local function dequeue(id)
  local r = redis.call('HMGET', K.JOB .. id, 'lane', 'work', 'model', 'class', 'key')
  local lane = r[1]
  if not lane or redis.call('ZREM', K.LANE .. lane, id) == 0 then return end
  redis.call('ZREM', K.DEADLINES, id)
  count_down(K.WORK, r[3], r[2])
  count_down(K.WAITING, 'model:' .. r[3], 1)
  if redis.call('HEXISTS', K.WAITING, 'model:' .. r[3]) == 0 then redis.call('HDEL', K.WORK, r[3]) end
  if not is_shared(lane) then return end
  local who = r[4] .. '|' .. r[5]
  count_down(K.WAITING, who, 1)
  count_down(K.WAITING, 'class:' .. r[4], 1)
  if redis.call('EXISTS', K.LANE .. lane) == 0 then redis.call('SREM', K.KEY_MODELS .. who, r[3]) end
  if redis.call('HEXISTS', K.WAITING, who) == 0 then redis.call('ZREM', K.FAIR .. r[4], r[5]) end
end

-- Add GPU seconds to what a key was served.
local function charge(class, key, seconds)
  local who = class .. '|' .. key
  local served = redis.call('HINCRBYFLOAT', K.SERVED, who, string.format('%.6f', seconds))
  redis.call('ZADD', K.FAIR .. class, 'XX', served, key)
end

-- The key's turn was taken: estimate its cost until the run has been measured.
local function take_turn(id, slot)
  local r = redis.call('HMGET', K.JOB .. id, 'class', 'key', 'model', 'work', 'lane')
  redis.call('SADD', K.ACTIVE .. r[2], id)
  local rate = tonumber(rate_of(r[3], slot) or 0)
  local seconds = rate > 0 and rate * r[4] or 1
  redis.call('HSET', K.JOB .. id, 'charged', string.format('%.6f', seconds))
  if is_shared(r[5]) then
    redis.call('HSET', K.SERVED, 'v:' .. r[1], redis.call('HGET', K.SERVED, r[1] .. '|' .. r[2]) or 0)
    redis.call('HSET', K.SERVED, 'v', redis.call('HGET', K.SERVED, 'pass:' .. r[1]) or 0)
    redis.call('HINCRBYFLOAT', K.SERVED, 'pass:' .. r[1], string.format('%.0f', stride_of(r[1])))
  end
  charge(r[1], r[2], seconds)
end

-- The run ended after so many seconds: correct the estimate.
local function settle(id, seconds)
  local r = redis.call('HMGET', K.JOB .. id, 'class', 'key', 'charged')
  redis.call('SREM', K.ACTIVE .. r[2], id)
  if has(r[3]) then
    charge(r[1], r[2], seconds - r[3])
    redis.call('HDEL', K.JOB .. id, 'charged')
  end
end

local function elapsed_s(id)
  local started = job_get(id, 'started_at')
  return has(started) and (now_ms() - started) / 1000 or 0
end

-- The first of a key's jobs that needs one of these models.
local function head_of(class, key, models)
  local best, best_score, best_model
  for _, model in ipairs(redis.call('SMEMBERS', K.KEY_MODELS .. class .. '|' .. key)) do
    if models[model] then
      local head = redis.call('ZRANGE', K.LANE .. class .. '|' .. key .. '|' .. model, 0, 0, 'WITHSCORES')
      if head[1] and (not best or tonumber(head[2]) < best_score) then
        best, best_score, best_model = head[1], tonumber(head[2]), model
      end
    end
  end
  return best, best_model
end

local function may_run_more(key)
  local limit = redis.call('HGET', K.LIMITS, key)
  return not limit or redis.call('SCARD', K.ACTIVE .. key) < tonumber(limit)
end

local function next_in_class(class, models, resident)
  local keys = redis.call('ZRANGE', K.FAIR .. class, 0, -1)
  for place, key in ipairs(keys) do
    local id, model
    if may_run_more(key) then id, model = head_of(class, key, models) end
    if id then
      if not next(resident) or resident[model] then return id end
      -- Loading costs time: a job whose model is there may go first, a bounded number of times and seconds.
      local skipped = redis.call('HMGET', K.JOB .. id, 'skips', 'skipped_at')
      local now = now_ms()
      if tonumber(skipped[1] or 0) >= CFG.affinity_places or now - (skipped[2] or now) >= CFG.affinity_ms then
        return id
      end
      for other = place, #keys do
        local fitting = may_run_more(keys[other]) and head_of(class, keys[other], resident)
        if fitting then
          redis.call('HINCRBY', K.JOB .. id, 'skips', 1)
          redis.call('HSETNX', K.JOB .. id, 'skipped_at', int(now))
          return fitting
        end
      end
      return id
    end
  end
end

-- Which of two classes goes first when their passes are equal.
local function leads(class, other)
  local mine, theirs = CFG.weights[class], CFG.weights[other]
  if mine ~= theirs then return mine > theirs end
  return class < other
end

local function pass_of(class)
  return tonumber(redis.call('HGET', K.SERVED, 'pass:' .. class) or 0)
end

local function classes_by_turn()
  local classes, pass = {}, {}
  for class, _ in pairs(CFG.weights) do
    table.insert(classes, class)
    pass[class] = pass_of(class)
  end
  table.sort(classes, function(a, b)
    if pass[a] ~= pass[b] then return pass[a] < pass[b] end
    return leads(a, b)
  end)
  return classes
end

local function set_of(list)
  local set = {}
  for _, item in ipairs(list) do set[item] = true end
  return set
end

-- The first job of a lane of many keys that needs one of these models and whose key may run more; and its score.
local function first_of(lane, models)
  local from, allowed = 0, {}
  repeat
    local found = redis.call('ZRANGE', K.LANE .. lane, from, from + 49, 'WITHSCORES')
    for i = 1, #found, 2 do
      local r = redis.call('HMGET', K.JOB .. found[i], 'model', 'key')
      if allowed[r[2]] == nil then allowed[r[2]] = may_run_more(r[2]) end
      if models[r[1]] and allowed[r[2]] then return found[i], tonumber(found[i + 1]) end
    end
    from = from + 50
  until not found[1]
end

-- The job this slot should run next: pinned to it, moved to the front, or by class, key, priority and age.
local function pick(slot)
  local facts = redis.call('HMGET', K.SLOT .. slot, 'models', 'resident')
  local list = cjson.decode(facts[1])
  local models, resident = set_of(list), {}
  local pinned = first_of(K.PIN .. slot, models)
  if pinned then return pinned end
  local front, front_score
  for _, model in ipairs(list) do
    local id, score = first_of(K.FRONT .. model, models)
    if id and (not front or score < front_score) then front, front_score = id, score end
  end
  if front then return front end
  for model in string.gmatch(facts[2] or '', '[^,]+') do
    if models[model] then resident[model] = true end
  end
  for _, class in ipairs(classes_by_turn()) do
    local id = next_in_class(class, models, resident)
    if id then return id end
  end
end
