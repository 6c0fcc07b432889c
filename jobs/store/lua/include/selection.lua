-- Which waiting job a slot runs next: pinned to it, moved to the front, or by class, key, priority and age.
-- include: common, fairness

-- The first job of a key that needs one of these models, and its model.
local function first_of_key(class, key, models)
  local best, best_score, best_model
  for _, model in ipairs(redis.call('SMEMBERS', K.KEY_MODELS .. class .. '|' .. key)) do
    if models[model] then
      local first = redis.call('ZRANGE', K.LANE .. class .. '|' .. key .. '|' .. model, 0, 0, 'WITHSCORES')
      if first[1] and (not best or tonumber(first[2]) < best_score) then
        best, best_score, best_model = first[1], tonumber(first[2]), model
      end
    end
  end
  return best, best_model
end

-- The first job of a lane shared by keys that needs one of these models and whose key may run more; and its score.
local function first_of_lane(lane, models)
  local from, allowed = 0, {}
  repeat
    local jobs = redis.call('ZRANGE', K.LANE .. lane, from, from + 49, 'WITHSCORES')
    for i = 1, #jobs, 2 do
      local model, key = unpack(redis.call('HMGET', K.JOB .. jobs[i], 'model', 'key'))
      if allowed[key] == nil then allowed[key] = may_run_more(key) end
      if models[model] and allowed[key] then return jobs[i], tonumber(jobs[i + 1]) end
    end
    from = from + 50
  until not jobs[1]
end

-- Whether other jobs may still go before this one to avoid loading a model. Both the number and the time are bounded.
local function may_be_skipped(id)
  local skips, skipped_at = unpack(redis.call('HMGET', K.JOB .. id, 'skips', 'skipped_at'))
  local now = now_ms()
  return tonumber(skips or 0) < CFG.affinity_places and now - (skipped_at or now) < CFG.affinity_ms
end

-- The next job of a class. A job whose model is resident may go before the job whose turn it is.
local function next_of_class(class, models, resident)
  local keys = redis.call('ZRANGE', K.FAIR .. class, 0, -1)
  for place, key in ipairs(keys) do
    local id, model
    if may_run_more(key) then id, model = first_of_key(class, key, models) end
    if id then
      if not next(resident) or resident[model] or not may_be_skipped(id) then return id end
      for other = place, #keys do
        local loaded = may_run_more(keys[other]) and first_of_key(class, keys[other], resident)
        if loaded then
          redis.call('HINCRBY', K.JOB .. id, 'skips', 1)
          redis.call('HSETNX', K.JOB .. id, 'skipped_at', int(now_ms()))
          return loaded
        end
      end
      return id
    end
  end
end

local function classes_by_turn()
  local classes, pass = {}, {}
  for class, _ in pairs(CLASS_WEIGHTS) do
    table.insert(classes, class)
    pass[class] = pass_of(class)
  end
  table.sort(classes, function(a, b)
    if pass[a] ~= pass[b] then return pass[a] < pass[b] end
    return wins_tie(a, b)
  end)
  return classes
end

-- The next job for a slot that runs these models (JSON list), or nil.
local function next_job(slot, models_json)
  local list = cjson.decode(models_json or '[]')
  local models, resident = set_of(list), {}
  local pinned = first_of_lane(K.PIN .. slot, models)
  if pinned then return pinned end
  local front, front_score
  for _, model in ipairs(list) do
    local id, score = first_of_lane(K.FRONT .. model, models)
    if id and (not front or score < front_score) then front, front_score = id, score end
  end
  if front then return front end
  for model in string.gmatch(redis.call('HGET', K.SLOT .. slot, 'resident') or '', '[^,]+') do
    if models[model] then resident[model] = true end
  end
  for _, class in ipairs(classes_by_turn()) do
    local id = next_of_class(class, models, resident)
    if id then return id end
  end
end
