-- What jobs cost their key. Each job adds its GPU seconds to what its key was served: estimated when the job is bound,
-- corrected when the run ends.
-- include: offers, queue, rates, records, turns

-- Keys with a running limit that hold fewer slots than before.
local freed_keys = {}

-- Add GPU seconds to what a key was served.
local function charge(class, key, seconds)
  set_turn(class .. '|' .. key, served_of(class, key) + seconds)
  index_key(key)
end

-- A job is being bound: move its class on and charge its key an estimate.
local function take_turn(id, slot)
  local record = job_of(id)
  local class, key = record.class, record.key
  local seconds = expected_s(record.model, record.work, slot)
  redis.call('SADD', K.ACTIVE .. key, id)
  set_job(id, {charged = string.format('%.6f', seconds)})
  read_turns({class .. '|' .. key, 'pass:' .. class, 'pass'})
  if takes_turns(record.line) then
    set_turn('v:' .. class .. '|' .. offer_name(slot), served_of(class, key))
    pass_on(class)
  end
  charge(class, key, tonumber(job_of(id).charged))
end

-- A run has ended after `seconds`: correct the estimate that take_turn charged.
local function settle_charge(id, seconds)
  local record = job_of(id)
  if not record.charged then return end
  redis.call('SREM', K.ACTIVE .. record.key, id)
  if redis.call('HEXISTS', K.LIMITS, record.key) == 1 then freed_keys[record.key] = true end
  charge(record.class, record.key, seconds - record.charged)
  unset_job(id, {'charged'})
end
