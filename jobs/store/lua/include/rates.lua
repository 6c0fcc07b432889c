-- How fast a model runs: measured seconds per unit of work, by model and by model and kind of device.
-- include: common, records

-- Rates, as they were read.
local rates_found = {}

-- The rate of a model on this slot's kind of device, else on any device; false before the first measurement.
local function rate_of(model, slot)
  local device = slot and slot_of(slot).device_name
  local name = has(device) and model .. '|' .. device or model
  if rates_found[name] == nil then
    local of_device, of_all = unpack(redis.call('HMGET', K.RATES, name, model))
    rates_found[name] = of_device or of_all
  end
  return rates_found[name]
end

-- Seconds that a job is expected to take (on this slot); 1 before the first measurement.
local function expected_s(model, work, slot)
  local rate = tonumber(rate_of(model, slot) or 0)
  return rate > 0 and rate * work or 1
end

-- The part of the seconds of a run that counts for one job: the jobs of a run share its time.
local function share_s(record, seconds)
  return seconds / tonumber(record.batch_size or 1)
end

-- Add a measurement to the moving averages: the newest one counts for three tenths.
local function add_rate(model, slot, rate)
  local device = slot_of(slot).device_name
  local names = {model, has(device) and model .. '|' .. device or nil}
  local known = redis.call('HMGET', K.RATES, unpack(names))
  for i, name in ipairs(names) do
    write_field(K.RATES, name, tostring(known[i] and (0.7 * known[i] + 0.3 * rate) or rate))
  end
end

-- Seconds since the run of this job began; 0 when it has not begun.
local function elapsed_s(id)
  local started = job_of(id).started_at
  return has(started) and (now_ms() - started) / 1000 or 0
end
