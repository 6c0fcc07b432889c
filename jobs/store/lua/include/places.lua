-- Where a waiting job stands among its rivals. Exact for one slot while all jobs cost the same and few keys wait;
-- otherwise an estimate from the virtual times at which the jobs began to wait.
-- include: offers, queue, rivals, turns

-- Lanes of other keys that are counted one by one.
local MAX_LANES = 40

-- Counts that were made for other jobs of the same call.
local counts_found = {}

-- How many of n things at start, start + step, … come before `mine`; a tie counts when `wins`.
local function count_before(n, start, step, mine, wins)
  local x = (mine - start) / step
  if x < -1e-9 then return 0 end
  local whole = math.floor(x + 1e-9)
  local count = (x - whole > 1e-9 or wins) and whole + 1 or whole
  return math.min(n, count)
end

-- Number of jobs of a line and these models whose place is below `limit` ('(' .. place, or '+inf').
local function count_in_order(line, models, limit)
  local count = 0
  for _, model in ipairs(models) do
    count = count + redis.call('ZCOUNT', K.ORDER .. line .. '|' .. model, '-inf', limit)
  end
  return count
end

-- Number of all waiting jobs of a line and these models.
local function count_line(line, models)
  counts_found[models] = counts_found[models] or {}
  local known = counts_found[models]
  known[line] = known[line]
    or redis.call('HEXISTS', K.WAITING, counter_of(line)) == 1 and count_in_order(line, models, '+inf') or 0
  return known[line]
end

-- Number of waiting jobs of other keys that come before virtual time `mine`, one lane after the other; nil when there
-- are too many lanes.
local function count_others(class, key, models, mine, cost)
  local keys, places, jobs, lanes = {}, {}, {}, 0
  for _, model in ipairs(models) do
    lanes = lanes + redis.call('ZCOUNT', K.READY .. class .. '|' .. model, '-inf', mine + cost)
    if lanes > MAX_LANES then return nil end
  end
  for _, model in ipairs(models) do
    local index = K.READY .. class .. '|' .. model
    local ready = redis.call('ZRANGEBYSCORE', index, '-inf', mine + cost, 'WITHSCORES')
    for i = 1, #ready, 2 do
      local other = ready[i]
      if other ~= key then
        if not jobs[other] then table.insert(keys, other) end
        places[other] = tonumber(ready[i + 1])
        jobs[other] = (jobs[other] or 0) + redis.call('ZCARD', lane_of(class, other, model))
      end
    end
  end
  local count = 0
  for _, other in ipairs(keys) do
    count = count + count_before(jobs[other], places[other], cost, mine, other < key)
  end
  return count
end

-- Number of jobs of its class that go before a job: those of its key with a better score, and those of other keys until
-- they have been served as much as this key.
local function before_in_class(id, record, models)
  local class, key, own, score = record.line, record.key, 0, score_of(record)
  for _, model in ipairs(models) do
    own = own + redis.call('ZCOUNT', lane_of(class, key, model), '-inf', '(' .. score)
  end
  local cost = mean_seconds(models)
  local others = count_others(class, key, models, served_of(class, key, record.model) + own * cost, cost)
  if others then return own + others end
  local time = redis.call('ZSCORE', K.ORDER .. class .. '|' .. record.model, id)
  return math.max(own, count_in_order(class, models, '(' .. time))
end

-- Number of waiting jobs of these models in classes that take turns.
local function count_classes(models)
  local count = 0
  for class, _ in pairs(CLASS_WEIGHTS) do count = count + count_line(class, models) end
  return count
end

-- Number of jobs of other classes that go before the job of this model that has `ahead` jobs of its own class before
-- it.
local function before_in_other_classes(class, ahead, model, models)
  if is_off_peak(class) then return count_classes(models) end
  local count, cost = 0, mean_seconds(models)
  local found = passes_at(offers_of(model)[1] or '')
  local pass = found[class].pass + ahead * stride_of(class) * cost
  for other, of in pairs(found) do
    local n = other ~= class and count_line(other, models) or 0
    if n > 0 then
      count = count + count_before(n, of.pass, stride_of(other) * cost, pass, wins_tie(other, class))
    end
  end
  return count
end

-- The place of a waiting job, from 1. Jobs pinned to other slots are not counted.
local function place_of(id, record, models)
  local line = record.line
  if not takes_turns(line) then
    local others = 0
    if is_off_peak(line) then
      local pinned = tonumber(redis.call('HGET', K.WAITING, counter_of(K.PIN .. pin_of(line))) or 0)
      others = pinned + count_classes(models) + count_line(K.FRONT, models)
    end
    return others + count_in_order(line, models, '(' .. score_of(record)) + 1
  end
  local ahead = before_in_class(id, record, models)
  return ahead + before_in_other_classes(line, ahead, record.model, models) + count_line(K.FRONT, models) + 1
end
