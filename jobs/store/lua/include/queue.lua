-- The jobs that wait, by line, key and model. The line of a job is its class, '@<slot>' if it is pinned to a slot, or
-- '!' if an operator moved it to the front. A lane holds the jobs of one key and model in a line, by priority and age.
-- include: common, offers, rates, records, turns

-- Higher priorities come first, then older jobs.
local function score_of(record)
  return string.format('%.0f', record.sequence - 1e12 * (tonumber(record.priority) or 0))
end

-- The slot to which the jobs of a line are pinned; nil for other lines.
local function pin_of(line)
  return line:sub(1, 1) == K.PIN and line:sub(2) or nil
end

-- Whether classes and keys take turns for the jobs of this line. Pinned jobs and jobs at the front skip the turns.
local function takes_turns(line)
  return line ~= K.FRONT and not pin_of(line)
end

-- The counter of a line in K.WAITING.
local function counter_of(line)
  if line == K.FRONT then return 'front' end
  local pin = pin_of(line)
  return pin and 'pin:' .. pin or 'class:' .. line
end

local function lane_of(line, key, model)
  return K.LANE .. line .. '|' .. key .. '|' .. model
end

-- Whether a key holds as many slots as it may at once.
local function is_at_limit(key)
  local limit = redis.call('HGET', K.LIMITS, key)
  return limit and redis.call('SCARD', K.ACTIVE .. key) >= tonumber(limit)
end

-- The place of a key among those that are ready to run a job of this line and model.
local function ready_score(line, key, model)
  if takes_turns(line) then return string.format('%.6f', served_of(line, key)) end
  return redis.call('ZRANGE', lane_of(line, key, model), 0, 0, 'WITHSCORES')[2]
end

-- Bring the places of a key up to date, after it was charged or its number of running jobs or its limit changed.
local function index_key(key)
  local lanes = redis.call('SMEMBERS', K.KEY_LANES .. key)
  if not lanes[1] then return end
  local at_limit = is_at_limit(key)
  for _, lane in ipairs(lanes) do
    local line, model = lane:match('^(.-)|(.*)$')
    redis.call('ZADD', K.READY .. lane, at_limit and 'inf' or ready_score(line, key, model), key)
  end
end

-- A key that returns starts level with the others at the slots that run its model: what it did not use is not saved up.
local function join_turns(class, key, model)
  local who, levels = class .. '|' .. key, {}
  for _, offer in ipairs(offers_of(model)) do
    table.insert(levels, 'v:' .. class .. '|' .. offer)
  end
  read_turns({who, 'last:' .. who, unpack(levels)})
  for _, lane in ipairs(redis.call('SMEMBERS', K.KEY_LANES .. key)) do
    if lane:sub(1, #class + 1) == class .. '|' then return end
  end
  for _, level in ipairs(levels) do
    if turn_of(level) > turn_of(who) then set_turn(who, turn_of(level)) end
  end
  set_turn('last:' .. who, turn_of(who))
end

-- The virtual time at which the turn of a job will come, as it is estimated when the job begins to wait: after the
-- waiting jobs of its key. A job that is not the last of its lane comes after those before it in the lane.
local function virtual_time(id, record)
  local class, key, lane = record.line, record.key, lane_of(record.line, record.key, record.model)
  local cost = expected_s(record.model, record.work)
  local last = 'last:' .. class .. '|' .. key
  local time = math.max(turn_of(last), served_of(class, key))
  set_turn(last, time + cost)
  if redis.call('ZREVRANK', lane, id) == 0 then return time end
  return served_of(class, key) + cost * redis.call('ZRANK', lane, id)
end

local function add_to_counters(record)
  redis.call('HINCRBY', K.WAITING, 'model:' .. record.model, 1)
  redis.call('HINCRBY', K.WAITING, counter_of(record.line), 1)
  if pin_of(record.line) then redis.call('HINCRBY', K.WAITING, 'pins', 1) end
  redis.call('HINCRBYFLOAT', K.WORK, record.model, record.work)
end

local function enqueue(id)
  local record = job_of(id)
  local line, key, model, score = record.line, record.key, record.model, score_of(record)
  local is_by_turn = takes_turns(line)
  if is_by_turn then join_turns(line, key, model) end
  redis.call('ZADD', lane_of(line, key, model), score, id)
  local place = is_by_turn and string.format('%.6f', virtual_time(id, record)) or score
  redis.call('ZADD', K.ORDER .. line .. '|' .. model, place, id)
  add_to_counters(record)
  if has(record.start_by) then redis.call('ZADD', K.DEADLINES, record.start_by, id) end
  local is_new = redis.call('SADD', K.KEY_LANES .. key, line .. '|' .. model) == 1
  if is_new or not is_by_turn then
    local ready = is_at_limit(key) and 'inf' or ready_score(line, key, model)
    redis.call('ZADD', K.READY .. line .. '|' .. model, ready, key)
  end
end

-- Subtract from a counter and remove it at zero. Sums of fractions may end a little above zero.
local function count_down(hash, field, by)
  if tonumber(redis.call('HINCRBYFLOAT', hash, field, -by)) <= 1e-9 then redis.call('HDEL', hash, field) end
end

-- Take a job out of the queue. Does nothing for a job that does not wait.
local function dequeue(id)
  local record = job_of(id)
  local line, key, model = record.line, record.key, record.model
  local lane = line and lane_of(line, key, model)
  if not line or redis.call('ZREM', lane, id) == 0 then return end
  redis.call('ZREM', K.ORDER .. line .. '|' .. model, id)
  if has(record.start_by) then redis.call('ZREM', K.DEADLINES, id) end
  count_down(K.WORK, model, record.work)
  count_down(K.WAITING, 'model:' .. model, 1)
  if redis.call('HEXISTS', K.WAITING, 'model:' .. model) == 0 then redis.call('HDEL', K.WORK, model) end
  count_down(K.WAITING, counter_of(line), 1)
  if pin_of(line) then count_down(K.WAITING, 'pins', 1) end
  if redis.call('EXISTS', lane) == 0 then
    redis.call('SREM', K.KEY_LANES .. key, line .. '|' .. model)
    redis.call('ZREM', K.READY .. line .. '|' .. model, key)
  elseif not takes_turns(line) and not is_at_limit(key) then
    redis.call('ZADD', K.READY .. line .. '|' .. model, ready_score(line, key, model), key)
  end
end
