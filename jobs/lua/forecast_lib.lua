-- Where a waiting job stands. Exact while jobs of a class cost the same; shared by submit and forecast.

-- How many of n things at start, start + step, … come before `mine`; at a tie when `first`.
local function before(n, start, step, mine, first)
  local x = (mine - start) / step
  if x < -1e-9 then return 0 end
  local whole = math.floor(x + 1e-9)
  local count = (x - whole > 1e-9 or first) and whole + 1 or whole
  return math.min(n, count)
end

-- Average GPU seconds of a waiting job; nil while a waiting model was never measured.
local function mean_seconds()
  local total, count, measured = 0, 0, true
  local waiting = redis.call('HGETALL', K.WORK)
  for i = 1, #waiting, 2 do
    local rate = redis.call('HGET', K.RATES, waiting[i])
    if rate then total = total + rate * waiting[i + 1] else measured = false end
    count = count + tonumber(redis.call('HGET', K.WAITING, 'model:' .. waiting[i]) or 0)
  end
  if count == 0 then return 1, measured end
  local mean = total / count
  return mean > 0 and mean or 1, measured
end

local function place_of(id, r)
  local lane, class, key = r.lane, r.class, r.key
  local rank = redis.call('ZRANK', K.LANE .. lane, id) or 0
  if not is_shared(lane) then return rank + 1 end
  local score = redis.call('ZSCORE', K.LANE .. lane, id)
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
  local turns = classes_by_turn()
  local pass, weight
  for _, turn in ipairs(turns) do
    if turn[1] == class then pass, weight = turn[2], turn[3] end
  end
  local total = ahead
  for _, turn in ipairs(turns) do
    if turn[1] ~= class then
      local n = tonumber(redis.call('HGET', K.WAITING, 'class:' .. turn[1]) or 0)
      total = total + before(n, turn[2], 1 / turn[3], pass + ahead / weight, turn[3] > weight)
    end
  end
  local waiting = redis.call('HKEYS', K.WORK)
  for _, model in ipairs(waiting) do total = total + redis.call('ZCARD', K.LANE .. K.FRONT .. model) end
  return total + 1
end

-- {position, eta_s or '', what it waits for or ''}; position 0 once bound, -1 when over.
local function forecast(id)
  local names = {'state', 'slot', 'model', 'work', 'lane', 'class', 'key', 'eta_s', 'pin'}
  local values, r = redis.call('HMGET', K.JOB .. id, unpack(names)), {}
  for i, name in ipairs(names) do r[name] = values[i] end
  if r.state == 'delivering' then return {0, '', ''} end
  if r.state ~= 'queued' and r.state ~= 'running' then return {-1, '', ''} end
  local rate = redis.call('HGET', K.RATES, r.model)
  local own_s = rate and rate * r.work
  if has(r.slot) then return {0, has(r.eta_s) and r.eta_s or own_s and tostring(own_s) or '', ''} end

  local place, fitting, free_in = place_of(id, r), 0, nil
  for _, slot in ipairs(redis.call('SMEMBERS', K.SLOTS)) do
    local facts = redis.call('HMGET', K.SLOT .. slot, 'models', 'job')
    local can = set_of(cjson.decode(facts[1] or '[]'))[r.model]
    if can and (not has(r.pin) or r.pin == slot) then
      fitting = fitting + 1
      local left = has(facts[2]) and tonumber(job_get(facts[2], 'eta_s') or '') or 0
      free_in = math.min(free_in or left, left)
    end
  end
  if fitting == 0 then return {place, '', has(r.pin) and 'slot ' .. r.pin or 'model ' .. r.model} end
  local paused = redis.call('SISMEMBER', K.PAUSED, K.ALL) == 1 and 'resume of the queue' or ''
  local mean, measured = mean_seconds()
  if not own_s or not measured or paused ~= '' then return {place, '', paused} end
  return {place, string.format('%.3f', free_in + (place - 1) * mean / fitting + own_s), ''}
end
