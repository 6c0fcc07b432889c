-- Which waiting job a slot runs next: pinned to it, moved to the front, or by class, key, priority and age. Jobs of a
-- class that takes no turns come last.
-- include: common, offers, queue, records, slots, turns

-- The key that is first in a line among those that are ready to run jobs of these models, and its score. Also the
-- models of which it has such jobs.
local function first_ready(line, models)
  local first, score, of
  for _, model in ipairs(models) do
    local key, place = unpack(redis.call('ZRANGE', K.READY .. line .. '|' .. model, 0, 0, 'WITHSCORES'))
    if key and place ~= 'inf' then
      place = tonumber(place)
      if key == first and place == score then
        table.insert(of, model)
      elseif not first or place < score or (place == score and key < first) then
        first, score, of = key, place, {model}
      end
    end
  end
  return first, score, of
end

-- The first job of a key in a line that needs one of these models; nil when there is none.
local function first_job(line, key, models)
  local first, score
  for _, model in ipairs(models or {}) do
    local id, place = unpack(redis.call('ZRANGE', lane_of(line, key, model), 0, 0, 'WITHSCORES'))
    if id and (not first or tonumber(place) < score) then first, score = id, tonumber(place) end
  end
  return first
end

local function first_of_line(line, models)
  local key, _, of = first_ready(line, models)
  return first_job(line, key, of)
end

-- Whether other jobs may still go before this one to avoid loading a model. Both the number and the time are bounded.
local function may_be_skipped(id)
  local record, now = job_of(id), now_ms()
  return tonumber(record.skips or 0) < CFG.affinity_places and now - (record.skipped_at or now) < CFG.affinity_ms
end

-- The next job of a class. A job whose model is in memory may go before the job whose turn it is.
local function next_of_class(class, models, warm)
  local id = first_of_line(class, models)
  if not id or not warm[1] then return id end
  for _, model in ipairs(warm) do
    if field_of(K.JOB .. id, 'model') == model then return id end
  end
  local other = may_be_skipped(id) and first_of_line(class, warm)
  if not other then return id end
  local record = job_of(id)
  set_job(id, {skips = int((record.skips or 0) + 1), skipped_at = record.skipped_at or int(now_ms())})
  return other
end

-- The classes with waiting jobs, by turn at the slots of an offer. `waiting`: the number of waiting jobs by class.
local function classes_by_turn(offer, waiting)
  local classes, found = {}, passes_at(offer)
  for class, _ in pairs(CLASS_WEIGHTS) do
    if waiting[class] then table.insert(classes, class) end
  end
  table.sort(classes, function(a, b)
    local pass, other = found[a].pass, found[b].pass
    if pass ~= other then return pass < other end
    return wins_tie(a, b)
  end)
  return classes
end

-- Of these names, those that have a counter in K.WAITING, as a list and as a set. `prefix`: of the counters.
local function waiting_of(prefix, names)
  local fields, list, set = {}, {}, {}
  for i, name in ipairs(names) do fields[i] = prefix .. name end
  local counts = fields[1] and redis.call('HMGET', K.WAITING, unpack(fields)) or {}
  for i, name in ipairs(names) do
    if counts[i] then
      table.insert(list, name)
      set[name] = true
    end
  end
  return list, set
end

-- The next job for a slot, or nil.
local function next_job(slot)
  local models, is_waiting = waiting_of('model:', models_of(slot))
  if not models[1] then return nil end
  local names = {'pin:' .. slot, 'front', 'late:' .. slot}
  for class, _ in pairs(CLASS_WEIGHTS) do table.insert(names, 'class:' .. class) end
  for _, class in ipairs(OFF_PEAK_CLASSES) do table.insert(names, 'class:' .. class) end
  local _, lines = waiting_of('', names)
  local id = lines['pin:' .. slot] and first_of_line(K.PIN .. slot, models)
  id = id or lines.front and first_of_line(K.FRONT, models)
  if id then return id end
  local warm, classes = {}, {}
  for model, _ in pairs(warm_models(slot)) do
    if is_waiting[model] then table.insert(warm, model) end
  end
  for class, _ in pairs(CLASS_WEIGHTS) do classes[class] = lines['class:' .. class] end
  for _, class in ipairs(classes_by_turn(offer_name(slot), classes)) do
    id = next_of_class(class, models, warm)
    if id then return id end
  end
  id = lines['late:' .. slot] and first_of_line(K.LATE_PIN .. slot, models)
  for _, class in ipairs(OFF_PEAK_CLASSES) do
    id = id or lines['class:' .. class] and next_of_class(class, models, warm)
  end
  return id
end
