-- The jobs that compete with a job for slots: those of all models that some slot runs beside its model.
-- include: offers, records

-- At most this many offers of a model are looked at.
local MAX_OFFERS = 16

-- What was found for a slot and model, for the other jobs of the same call.
local rivals_found, means_found = {}, {}

-- The models of a job's rivals, its own among them. A job that no slot can run is placed among all waiting jobs.
local function find_rivals(pin, model)
  local models, seen = {}, {}
  local function add(list)
    for _, name in ipairs(list) do
      if not seen[name] then
        seen[name] = true
        table.insert(models, name)
      end
    end
  end
  add({model})
  local offers = pin and {slot_of(pin).offer} or not pin and offers_of(model) or {}
  if not offers[1] then
    add(redis.call('HKEYS', K.WORK))
    return models
  end
  for _, list in ipairs(redis.call('HMGET', K.OFFERS, unpack(offers, 1, math.min(#offers, MAX_OFFERS)))) do
    add(cjson.decode(list))
  end
  return models
end

local function rival_models(pin, model)
  local name = (pin or '') .. '|' .. model
  if not rivals_found[name] then rivals_found[name] = find_rivals(pin, model) end
  return rivals_found[name]
end

-- Average GPU seconds that take_turn will charge for a waiting job of these models, and whether all of them were
-- measured.
local function mean_seconds(models)
  if means_found[models] then return unpack(means_found[models]) end
  local total, count, is_measured, counters = 0, 0, true, {}
  for i, model in ipairs(models) do counters[i] = 'model:' .. model end
  local waiting = redis.call('HMGET', K.WAITING, unpack(counters))
  local work, rates = redis.call('HMGET', K.WORK, unpack(models)), redis.call('HMGET', K.RATES, unpack(models))
  for i, jobs in ipairs(waiting) do
    if jobs then
      local rate = tonumber(rates[i] or 0)
      total = total + (rate > 0 and rate * work[i] or jobs)
      is_measured = is_measured and rate > 0
      count = count + jobs
    end
  end
  local mean = count > 0 and math.max(1e-6, tonumber(string.format('%.6f', total / count))) or 1
  means_found[models] = {mean, is_measured}
  return mean, is_measured
end
