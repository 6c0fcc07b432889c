-- Where a waiting job stands and when it will be done. Exact for one slot while all jobs cost the same.
-- include: common, fairness, queue, rates, slots

-- The fields of a job by name, false for missing ones.
local function job_fields(id, names)
  local values, record = redis.call('HMGET', K.JOB .. id, unpack(names)), {}
  for i, name in ipairs(names) do record[name] = values[i] end
  return record
end

-- How many of n things at start, start + step, … come before `mine`; a tie counts when `wins`.
local function count_before(n, start, step, mine, wins)
  local x = (mine - start) / step
  if x < -1e-9 then return 0 end
  local whole = math.floor(x + 1e-9)
  local count = (x - whole > 1e-9 or wins) and whole + 1 or whole
  return math.min(n, count)
end

-- Average GPU seconds that take_turn will charge for a waiting job, and whether all waiting models were measured.
local function mean_seconds()
  local total, count, measured = 0, 0, true
  local waiting = redis.call('HGETALL', K.WORK)
  for i = 1, #waiting, 2 do
    local model, work = waiting[i], waiting[i + 1]
    local rate = tonumber(redis.call('HGET', K.RATES, model) or 0)
    local jobs = tonumber(redis.call('HGET', K.WAITING, 'model:' .. model) or 0)
    if rate > 0 then total = total + rate * work else total, measured = total + jobs, false end
    count = count + jobs
  end
  if count == 0 then return 1, measured end
  return math.max(1e-6, tonumber(string.format('%.6f', total / count))), measured
end

-- How many jobs that were moved to the front come before a score.
local function front_before(score)
  local count = 0
  for _, model in ipairs(redis.call('HKEYS', K.WORK)) do
    count = count + redis.call('ZCOUNT', K.LANE .. K.FRONT .. model, '-inf', score)
  end
  return count
end

-- How many jobs of its class go before a job: those of its key with a better score, and those of other keys until they
-- have been served as much as this key.
local function before_in_class(class, key, score)
  local ahead = 0
  for _, model in ipairs(redis.call('SMEMBERS', K.KEY_MODELS .. class .. '|' .. key)) do
    ahead = ahead + redis.call('ZCOUNT', K.LANE .. class .. '|' .. key .. '|' .. model, '-inf', '(' .. score)
  end
  local mean = mean_seconds()
  local served = tonumber(redis.call('ZSCORE', K.FAIR .. class, key) or 0) + ahead * mean
  local others = redis.call('ZRANGE', K.FAIR .. class, 0, -1, 'WITHSCORES')
  for i = 1, #others, 2 do
    local other = others[i]
    if other ~= key then
      local n = tonumber(redis.call('HGET', K.WAITING, class .. '|' .. other) or 0)
      ahead = ahead + count_before(n, tonumber(others[i + 1]), mean, served, other < key)
    end
  end
  return ahead
end

-- How many jobs of other classes go before the job that has `ahead` jobs of its own class before it.
local function before_in_other_classes(class, ahead)
  local count, pass = 0, pass_of(class) + ahead * stride_of(class)
  for other, _ in pairs(CLASS_WEIGHTS) do
    if other ~= class then
      local n = tonumber(redis.call('HGET', K.WAITING, 'class:' .. other) or 0)
      count = count + count_before(n, pass_of(other), stride_of(other), pass, wins_tie(other, class))
    end
  end
  return count
end

-- The place of a waiting job, from 1. Jobs pinned to other slots are not counted.
local function place_of(id, record)
  local lane = record.lane
  if lane:sub(1, 1) == K.PIN then return (redis.call('ZRANK', K.LANE .. lane, id) or 0) + 1 end
  local score = redis.call('ZSCORE', K.LANE .. lane, id)
  if not takes_turns(lane) then return front_before('(' .. score) + 1 end
  local ahead = before_in_class(record.class, record.key, score)
  return ahead + before_in_other_classes(record.class, ahead) + front_before('+inf') + 1
end

-- Seconds until a bound job is computed: what its worker reported last, less the time since then; otherwise the average
-- of its model, less the time that it has been running. nil when neither is known.
local function computed_in_s(id, record)
  if has(record.eta_s) then
    local since_ms = has(record.eta_at) and now_ms() - record.eta_at or 0
    return math.max(0, record.eta_s - since_ms / 1000)
  end
  local rate = rate_of(record.model, has(record.slot) and record.slot)
  return rate and math.max(0, rate * record.work - elapsed_s(id)) or nil
end

-- Seconds until a slot is done with its present job, as far as that is known.
local function remaining_s(id)
  local record = job_fields(id, {'state', 'eta_s', 'eta_at', 'model', 'work', 'slot'})
  if record.state ~= STATE.QUEUED and record.state ~= STATE.RUNNING then return 0 end
  return computed_in_s(id, record) or 0
end

local function first_name(name, other)
  return (not name or other < name) and other or name
end

-- The slots that could run a job: `count`, seconds until the first is free (`free_in_s`), jobs pinned to one of them
-- (`pins`); `paused` and `blocked` name the first slot that only an operator or its back end keeps from running the
-- job.
local function slots_for(record)
  local slots = {count = 0}
  for _, slot in ipairs(redis.call('SMEMBERS', K.SLOTS)) do
    local is_wanted = not has(record.pin) or record.pin == slot
    local facts = is_wanted and slot_facts(slot)
    if facts and can_run(facts, record.model) then
      local obstacle = obstacle_of(slot, facts)
      if obstacle == OBSTACLE.PAUSED then
        slots.paused = first_name(slots.paused, slot)
      elseif obstacle == OBSTACLE.BLOCKED then
        slots.blocked = first_name(slots.blocked, slot)
      elseif not obstacle or obstacle == OBSTACLE.QUEUE_PAUSED or obstacle == OBSTACLE.CLOSED then
        slots.count = slots.count + 1
        slots.free_in_s = math.min(slots.free_in_s or math.huge, has(facts[JOB]) and remaining_s(facts[JOB]) or 0)
        slots.pins = math.min(slots.pins or math.huge, redis.call('ZCARD', K.LANE .. K.PIN .. slot))
      end
    end
  end
  return slots
end

-- What a job waits for when no slot can run it at the moment, for people; nil when one can.
local function waits_for(record, slots)
  if slots.count > 0 then return is_queue_paused() and 'resume of the queue' or nil end
  if slots.blocked then
    -- Only a GPU is blocked by its spool; a back end is blocked while it is away.
    if not slots.blocked:find('gpu%d+$') then return 'slot ' .. slots.blocked end
    local node, why = unpack(redis.call('HMGET', K.SLOT .. slots.blocked, 'node', 'blocked'))
    local store_why = redis.call('HGET', K.AWAY_WHY, node or '')
    if has(store_why) then why = why .. ', for ' .. store_why end
    return 'room in the spool of slot ' .. slots.blocked .. ' (' .. why .. ')'
  end
  if slots.paused then return 'resume of slot ' .. slots.paused end
  return has(record.pin) and 'slot ' .. record.pin or 'model ' .. record.model
end

-- What a delivery waits for, for people; '' when it is being made.
local function delivery_waits_for(record)
  local announced_until = tonumber(redis.call('ZSCORE', K.NODES, record.node or '') or 0)
  if announced_until < now_ms() / 1000 then return 'a delivery worker' end
  return has(record.delivery_problem) and record.delivery_problem or ''
end

-- {position, eta_s or '', what the job waits for or ''}. The position is 0 once the job is bound and -1 when it is
-- over.
local function forecast(id)
  local record = job_fields(id, {'state', 'slot', 'model', 'work', 'lane', 'class', 'key', 'eta_s', 'eta_at', 'pin',
    'node', 'delivery_problem'})
  if record.state == STATE.DELIVERING then return {0, '', delivery_waits_for(record)} end
  if record.state ~= STATE.QUEUED and record.state ~= STATE.RUNNING then return {-1, '', ''} end
  if has(record.slot) then
    local left_s = computed_in_s(id, record)
    return {0, left_s and string.format('%.3f', left_s) or '', ''}
  end

  local rate = rate_of(record.model)
  local run_s = rate and rate * record.work
  local slots = slots_for(record)
  -- The slots take their pinned jobs first, all at the same time.
  local place = place_of(id, record) + (has(record.pin) and 0 or (slots.pins or 0) * slots.count)
  local obstacle = waits_for(record, slots)
  if obstacle then return {place, '', obstacle} end
  local mean, measured = mean_seconds()
  if not run_s or not measured then return {place, '', ''} end
  return {place, string.format('%.3f', slots.free_in_s + (place - 1) * mean / slots.count + run_s), ''}
end
