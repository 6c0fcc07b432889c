-- The jobs that wait, by line, key and model. The line of a job is its class, '@<slot>' if it is pinned to a slot
-- ('~<slot>' for the class off-peak), or '!' if an operator moved it to the front. A lane holds the jobs of one key and
-- model in a line, by priority and age. A job that may not start yet waits outside of them, in K.NOT_BEFORE.
-- include: common, rates, records, rivals, turns, victims

-- Higher priorities come first, then older jobs.
local function score_of(record)
  return string.format('%.0f', record.sequence - 1e12 * (tonumber(record.priority) or 0))
end

-- The slot to which the jobs of a line are pinned; nil for other lines.
local function pin_of(line)
  local first = line:sub(1, 1)
  return (first == K.PIN or first == K.LATE_PIN) and line:sub(2) or nil
end

-- Whether the jobs of a line run only while no other job waits for the slot.
local function is_off_peak(line)
  return line:sub(1, 1) == K.LATE_PIN or set_of(OFF_PEAK_CLASSES)[line]
end

-- Whether keys take turns for the jobs of this line. Pinned jobs and jobs at the front skip the turns.
local function takes_turns(line)
  return line ~= K.FRONT and not pin_of(line)
end

-- The counter of a line in K.WAITING.
local function counter_of(line)
  if line == K.FRONT then return 'front' end
  local first, name = line:sub(1, 1), line:sub(2)
  return first == K.PIN and 'pin:' .. name or first == K.LATE_PIN and 'late:' .. name or 'class:' .. line
end

local function lane_name(line, key, model)
  return line .. '|' .. key .. '|' .. model
end

local function lane_of(line, key, model)
  return K.LANE .. lane_name(line, key, model)
end

-- Whether a key holds as many slots as it may at once.
local function is_at_limit(key)
  local limit = redis.call('HGET', K.LIMITS, key)
  return limit and redis.call('SCARD', K.ACTIVE .. key) >= tonumber(limit)
end

-- The lanes of keys, as they were read.
local lanes_found = {}

-- The lines and models for which jobs of a key wait, as '<line>|<model>'.
local function lanes_of(key)
  lanes_found[key] = lanes_found[key] or redis.call('SMEMBERS', K.KEY_LANES .. key)
  return lanes_found[key]
end

-- The place of a key among those that are ready to run a job of this line and model.
local function ready_score(line, key, model)
  if takes_turns(line) then return string.format('%.6f', served_of(line, key, model)) end
  return redis.call('ZRANGE', lane_of(line, key, model), 0, 0, 'WITHSCORES')[2]
end

-- Bring the places of a key up to date, after it was charged or its number of running jobs or its limit changed.
-- `lanes`: those of the key.
local function index_lanes(key, lanes)
  local at_limit = is_at_limit(key)
  for _, lane in ipairs(lanes) do
    local line, model = lane:match('^(.-)|(.*)$')
    redis.call('ZADD', K.READY .. lane, at_limit and 'inf' or ready_score(line, key, model), key)
  end
end

local function index_key(key)
  local lanes = lanes_of(key)
  if lanes[1] then index_lanes(key, lanes) end
end

-- A job of a key begins to wait, or is bound without waiting. A key that returns starts level with the others at the
-- slots that run its model: what it did not use is not saved up. `models`: those that the same slots run. Returns the
-- virtual time after the last waiting job of the key for these slots, as it was estimated when that job began to wait.
local function join_turns(class, key, model, models)
  local who, waiting, lasts, served = served_name(class, key, model), {}, {}, {}
  local is_rival = set_of(models)
  for _, lane in ipairs(lanes_of(key)) do
    local line, other = lane:match('^(.-)|(.*)$')
    if line == class and is_rival[other] then
      table.insert(waiting, served_name(class, key, other))
      table.insert(lasts, 'last:' .. served_name(class, key, other))
    end
  end
  if not waiting[1] then
    for i, other in ipairs(models) do served[i] = served_name(class, key, other) end
    for _, level in ipairs(level_names(class, model)) do table.insert(served, level) end
  end
  local numbers = {who}
  for _, names in ipairs({waiting, served, lasts}) do
    for _, name in ipairs(names) do table.insert(numbers, name) end
  end
  read_turns(numbers)
  local start = highest_of(waiting[1] and waiting or served)
  if turn_of(who) ~= start then set_turn(who, start) end
  return math.max(start, highest_of(lasts))
end

-- The virtual time at which the turn of a job will come, as it is estimated when the job begins to wait: after the
-- waiting jobs of its key. A job that is not the last of its lane comes after those before it in the lane. `last`: as
-- join_turns returned it.
local function virtual_time(id, record, last)
  local class, key, model = record.line, record.key, record.model
  local lane, cost = lane_of(class, key, model), expected_s(model, record.work)
  set_turn('last:' .. served_name(class, key, model), last + cost)
  if redis.call('ZREVRANK', lane, id) == 0 then return last end
  return served_of(class, key, model) + cost * redis.call('ZRANK', lane, id)
end

-- The time from which a job may start.
local function may_start_at(record)
  return math.max(now_ms(), tonumber(record.not_before or 0))
end

-- Whether a job may not start yet.
local function is_early(record)
  return may_start_at(record) > now_ms()
end

local function add_to_counters(record)
  redis.call('HINCRBY', K.WAITING, 'model:' .. record.model, 1)
  redis.call('HINCRBY', K.WAITING, counter_of(record.line), 1)
  if record.line:sub(1, 1) == K.PIN then redis.call('HINCRBY', K.WAITING, 'pins', 1) end
  redis.call('HINCRBYFLOAT', K.WORK, record.model, record.work)
end

local function enqueue(id)
  local record = job_of(id)
  if has(record.start_by) then redis.call('ZADD', K.DEADLINES, record.start_by, id) end
  if is_early(record) then return redis.call('ZADD', K.NOT_BEFORE, record.not_before, id) end
  local line, key, model, score = record.line, record.key, record.model, score_of(record)
  local is_by_turn = takes_turns(line)
  local served = is_by_turn and served_of(line, key, model)
  local last = is_by_turn and join_turns(line, key, model, rival_models(nil, model))
  redis.call('ZADD', lane_of(line, key, model), score, id)
  local place = is_by_turn and string.format('%.6f', virtual_time(id, record, last)) or score
  redis.call('ZADD', K.ORDER .. line .. '|' .. model, place, id)
  add_to_counters(record)
  if PREEMPTS[record.class] then redis.call('ZADD', K.PREEMPTORS, 'NX', int(now_ms()), line .. '|' .. model) end
  local is_new = redis.call('SADD', K.KEY_LANES .. key, line .. '|' .. model) == 1
  if is_new then lanes_found[key] = nil end
  if is_new or not is_by_turn or served_of(line, key, model) ~= served then
    local ready = is_at_limit(key) and 'inf' or ready_score(line, key, model)
    redis.call('ZADD', K.READY .. line .. '|' .. model, ready, key)
  end
end

-- Subtract from a counter and remove it at zero.
local function count_down(hash, field, by)
  if redis.call('HINCRBY', hash, field, -by) <= 0 then redis.call('HDEL', hash, field) end
end

-- After a job has left a lane: no more slots are reserved for it than it has jobs.
local function leave_reservations(line, key, model)
  if not next(PREEMPTS) then return end
  if redis.call('EXISTS', K.ORDER .. line .. '|' .. model) == 0 then
    redis.call('ZREM', K.PREEMPTORS, line .. '|' .. model)
  end
  local lane = lane_name(line, key, model)
  if reserved_for(lane) > redis.call('ZCARD', K.LANE .. lane) then
    unreserve(redis.call('SRANDMEMBER', K.RESERVED .. lane))
  end
end

-- Take a job out of the queue. Does nothing for a job that does not wait.
local function dequeue(id)
  local record = job_of(id)
  local line, key, model = record.line, record.key, record.model
  if has(record.start_by) then redis.call('ZREM', K.DEADLINES, id) end
  if has(record.not_before) and redis.call('ZREM', K.NOT_BEFORE, id) == 1 then return end
  local lane = line and lane_of(line, key, model)
  if not line or redis.call('ZREM', lane, id) == 0 then return end
  redis.call('ZREM', K.ORDER .. line .. '|' .. model, id)
  redis.call('HINCRBYFLOAT', K.WORK, model, -record.work)  -- a job that has only to be decoded waits with no work
  count_down(K.WAITING, 'model:' .. model, 1)
  if redis.call('HEXISTS', K.WAITING, 'model:' .. model) == 0 then redis.call('HDEL', K.WORK, model) end
  count_down(K.WAITING, counter_of(line), 1)
  if line:sub(1, 1) == K.PIN then count_down(K.WAITING, 'pins', 1) end
  leave_reservations(line, key, model)
  if redis.call('EXISTS', lane) == 0 then
    redis.call('SREM', K.KEY_LANES .. key, line .. '|' .. model)
    lanes_found[key] = nil
    redis.call('ZREM', K.READY .. line .. '|' .. model, key)
  elseif not takes_turns(line) and not is_at_limit(key) then
    redis.call('ZADD', K.READY .. line .. '|' .. model, ready_score(line, key, model), key)
  end
end
