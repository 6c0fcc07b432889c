-- What jobs cost their key. Each job adds its GPU seconds to what its key was served: estimated when the job is bound,
-- corrected when the run ends.
--
-- The seconds count in full for the models that the same slots run. For models of other slots, they lift a key at most
-- AHEAD such jobs above the level there: while the key gets enough elsewhere it is not next here, and when its jobs
-- elsewhere are done it is next soon. So keys share all GPU time, whichever slots they use (max-min fairness).
-- include: common, offers, queue, rates, records, slots, turns, usage

-- A key that is served faster elsewhere is served there again before the level here has risen by a job. Two, because
-- jobs do not end at even intervals.
local AHEAD = 2

-- Keys with a running limit that hold fewer slots than before.
local freed_keys = {}

-- Add GPU seconds to what a key was served by a slot, for a job of a model.
local function charge(class, key, model, slot, seconds)
  local lanes, own = lanes_of(key), served_name(class, key, model)
  local names, levels, here = {own}, {}, nil
  for _, lane in ipairs(lanes) do
    local line, other = lane:match('^(.-)|(.*)$')
    if line == class and other ~= model then
      here = here or set_of(models_of(slot))
      local name = served_name(class, key, other)
      table.insert(names, name)
      if not here[other] then levels[name] = level_names(class, other) end
    end
  end
  local wanted = {unpack(names)}
  for _, of in pairs(levels) do
    for _, level in ipairs(of) do table.insert(wanted, level) end
  end
  read_turns(wanted)
  for _, name in ipairs(names) do
    local served = turn_of(name)
    if not levels[name] then
      set_turn(name, served + seconds)
    elseif seconds > 0 then
      set_turn(name, math.max(served, math.min(served + seconds, highest_of(levels[name]) + AHEAD * seconds)))
    else
      set_turn(name, math.min(served, math.max(served + seconds, highest_of(levels[name]))))
    end
  end
  if lanes[1] then index_lanes(key, lanes) end
end

-- A job is being bound: move its class on and charge its key an estimate.
local function take_turn(id, slot)
  local record = job_of(id)
  local class, key, model = record.class, record.key, record.model
  local seconds = string.format('%.6f', expected_s(model, record.work, slot))
  redis.call('SADD', K.ACTIVE .. key, id)
  set_job(id, {charged = seconds})
  if takes_turns(record.line) then
    local offer = offer_name(slot)
    set_turn('v:' .. class .. '|' .. offer, served_of(class, key, model))
    if CLASS_WEIGHTS[class] then
      pass_on(class, offer, tonumber(seconds))
      set_job(id, {charged_offer = offer})
    end
  end
  charge(class, key, model, slot, tonumber(seconds))
end

-- A run has ended after `seconds`: correct the estimate that take_turn charged. Jobs that shared it share its time.
local function settle_charge(id, seconds)
  local record = job_of(id)
  if not record.charged then return end
  seconds = share_s(record, seconds)
  redis.call('SREM', K.ACTIVE .. record.key, id)
  if redis.call('HEXISTS', K.LIMITS, record.key) == 1 then freed_keys[record.key] = true end
  if seconds > 0 then add_usage(record, {gpu_s = seconds}) end
  local error_s = seconds - record.charged
  if record.charged_offer then add_to_pass(record.class, record.charged_offer, error_s) end
  charge(record.class, record.key, record.model, record.slot, error_s)
  unset_job(id, {'charged', 'charged_offer'})
end
