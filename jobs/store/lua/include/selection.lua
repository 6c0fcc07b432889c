-- Which waiting job a slot runs next: pinned to it, moved to the front, or by class, key, priority and age. Jobs of a
-- class that takes no turns come last.
-- include: common, offers, queue, records, skips, slots, turns

-- So many keys, and so many jobs of each lane, are looked at in search of one that does not wait for its host.
local LOOKED_KEYS, LOOKED_JOBS = 8, 32

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

-- Whether a waiting job leaves this slot to others.
local function waits_for_host(id, slot)
  local host = awaited_host(id)
  return host and host ~= slot_of(slot).node
end

-- The first job of a class that does not wait for another host than that of the slot. nil when there is none among
-- those that are looked at.
local function first_for_host(class, models, slot)
  local first, of, place, rank
  for _, model in ipairs(models) do
    local keys = redis.call('ZRANGE', K.READY .. class .. '|' .. model, 0, LOOKED_KEYS - 1, 'WITHSCORES')
    for i = 1, #keys, 2 do
      local key, turn = keys[i], tonumber(keys[i + 1]) or math.huge
      local jobs = turn < math.huge
        and redis.call('ZRANGE', lane_of(class, key, model), 0, LOOKED_JOBS - 1, 'WITHSCORES') or {}
      for j = 1, #jobs, 2 do
        local score = tonumber(jobs[j + 1])
        if not waits_for_host(jobs[j], slot) then
          local is_first = not first or turn < place or turn == place and (key < of or key == of and score < rank)
          if is_first then first, of, place, rank = jobs[j], key, turn, score end
          break
        end
      end
    end
  end
  return first
end

-- The next job of a class for a slot. A job whose model is in memory may go before the job whose turn it is.
local function next_of_class(class, models, warm, slot)
  local id = first_of_line(class, models)
  if id and waits_for_host(id, slot) then
    skip(id)
    return first_for_host(class, models, slot)
  end
  if not id or not warm[1] then return id end
  for _, model in ipairs(warm) do
    if field_of(K.JOB .. id, 'model') == model then return id end
  end
  local other = may_be_overtaken(id) and first_of_line(class, warm)
  if not other or waits_for_host(other, slot) then return id end
  skip(id)
  set_job(id, {skips = int((job_of(id).skips or 0) + 1)})
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
    id = next_of_class(class, models, warm, slot)
    if id then return id end
  end
  id = lines['late:' .. slot] and first_of_line(K.LATE_PIN .. slot, models)
  for _, class in ipairs(OFF_PEAK_CLASSES) do
    id = id or lines['class:' .. class] and next_of_class(class, models, warm, slot)
  end
  return id
end
