-- Where a waiting job stands. Exact for one slot while jobs cost the same; shared by submit and forecast.

-- How many of n things at start, start + step, … come before `mine`; at a tie when `first`.
local function before(n, start, step, mine, first)
  local x = (mine - start) / step
  if x < -1e-9 then return 0 end
  local whole = math.floor(x + 1e-9)
  local count = (x - whole > 1e-9 or first) and whole + 1 or whole
  return math.min(n, count)
end

-- Average GPU seconds that take_turn will charge for a waiting job; false while a waiting model was never measured.
local function mean_seconds()
  local total, count, measured = 0, 0, true
  local waiting = redis.call('HGETALL', K.WORK)
  for i = 1, #waiting, 2 do
    local rate = tonumber(redis.call('HGET', K.RATES, waiting[i]) or 0)
    local jobs = tonumber(redis.call('HGET', K.WAITING, 'model:' .. waiting[i]) or 0)
    if rate > 0 then total = total + rate * waiting[i + 1] else total, measured = total + jobs, false end
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

local function place_of(id, r)
  local lane, class, key = r.lane, r.class, r.key
  if lane:sub(1, 1) == K.PIN then return (redis.call('ZRANK', K.LANE .. lane, id) or 0) + 1 end
  local score = redis.call('ZSCORE', K.LANE .. lane, id)
  if not is_shared(lane) then return front_before('(' .. score) + 1 end
  local own = 0
  for _, model in ipairs(redis.call('SMEMBERS', K.KEY_MODELS .. class .. '|' .. key)) do
    own = own + redis.call('ZCOUNT', K.LANE .. class .. '|' .. key .. '|' .. model, '-inf', '(' .. score)
  end
  local mean = mean_seconds()
  local mine = tonumber(redis.call('ZSCORE', K.FAIR .. class, key) or 0) + own * mean
  local ahead = own
  local others = redis.call('ZRANGE', K.FAIR .. class, 0, -1, 'WITHSCORES')
  for i = 1, #others, 2 do
    if others[i] ~= key then
      local n = tonumber(redis.call('HGET', K.WAITING, class .. '|' .. others[i]) or 0)
      ahead = ahead + before(n, tonumber(others[i + 1]), mean, mine, others[i] < key)
    end
  end
  local total, turn = ahead, pass_of(class) + ahead * stride_of(class)
  for other, _ in pairs(CFG.weights) do
    if other ~= class then
      local n = tonumber(redis.call('HGET', K.WAITING, 'class:' .. other) or 0)
      total = total + before(n, pass_of(other), stride_of(other), turn, leads(other, class))
    end
  end
  return total + front_before('+inf') + 1
end

-- Seconds until a slot has done its present job, as far as that is known.
local function left_of(id)
  local r = redis.call('HMGET', K.JOB .. id, 'state', 'eta_s', 'model', 'work', 'slot')
  if r[1] ~= 'queued' and r[1] ~= 'running' then return 0 end
  if has(r[2]) then return tonumber(r[2]) end
  local rate = rate_of(r[3], r[5])
  return rate and math.max(0, rate * r[4] - elapsed_s(id)) or 0
end

-- The slots that could run a job: how many, seconds until the first is free, jobs pinned to them that go before, and
-- the name of one that is only paused, or else only blocked, when there is no other.
local function slots_for(r)
  local fitting, free_in, pins, paused, blocked = 0, nil, nil, nil, nil
  for _, slot in ipairs(redis.call('SMEMBERS', K.SLOTS)) do
    local facts = redis.call('HMGET', K.SLOT .. slot, 'models', 'job', 'draining', 'suspect_at', 'blocked')
    local can = set_of(cjson.decode(facts[1] or '[]'))[r.model] and not has(facts[3]) and not has(facts[4])
    if can and (not has(r.pin) or r.pin == slot) then
      if redis.call('SISMEMBER', K.PAUSED, slot) == 1 then
        if not paused or slot < paused then paused = slot end
      elseif has(facts[5]) then
        if not blocked or slot < blocked then blocked = slot end
      else
        fitting = fitting + 1
        free_in = math.min(free_in or math.huge, has(facts[2]) and left_of(facts[2]) or 0)
        pins = math.min(pins or math.huge, redis.call('ZCARD', K.LANE .. K.PIN .. slot))
      end
    end
  end
  return fitting, free_in, has(r.pin) and 0 or (pins or 0) * fitting, fitting == 0 and paused, fitting == 0 and blocked
end

-- {position, eta_s or '', what it waits for or ''}; position 0 once bound, -1 when over.
local function forecast(id)
  local names = {'state', 'slot', 'model', 'work', 'lane', 'class', 'key', 'eta_s', 'pin'}
  local values, r = redis.call('HMGET', K.JOB .. id, unpack(names)), {}
  for i, name in ipairs(names) do r[name] = values[i] end
  if r.state == 'delivering' then return {0, '', ''} end
  if r.state ~= 'queued' and r.state ~= 'running' then return {-1, '', ''} end
  local rate = rate_of(r.model, has(r.slot) and r.slot)
  local own_s = rate and rate * r.work
  if has(r.slot) then return {0, has(r.eta_s) and r.eta_s or own_s and tostring(own_s) or '', ''} end

  local fitting, free_in, pins, paused, blocked = slots_for(r)
  local place = place_of(id, r) + pins
  if blocked then return {place, '', (blocked:find('gpu%d+$') and 'room in the spool of slot ' or 'slot ') .. blocked} end
  if paused then return {place, '', 'resume of slot ' .. paused} end
  if fitting == 0 then return {place, '', has(r.pin) and 'slot ' .. r.pin or 'model ' .. r.model} end
  if redis.call('SISMEMBER', K.PAUSED, K.ALL) == 1 then return {place, '', 'resume of the queue'} end
  local mean, measured = mean_seconds()
  if not own_s or not measured then return {place, '', ''} end
  return {place, string.format('%.3f', free_in + (place - 1) * mean / fitting + own_s), ''}
end
