-- How fast a model runs: measured seconds per unit of work, by model and by model and kind of device.
-- include: common, records

-- The rate of a model on this slot's kind of device, else on any device; false before the first measurement.
local function rate_of(model, slot)
  local device = slot and redis.call('HGET', K.SLOT .. slot, 'device_name')
  return has(device) and redis.call('HGET', K.RATES, model .. '|' .. device) or redis.call('HGET', K.RATES, model)
end

-- Add a measurement to the moving averages: the newest one counts for three tenths.
local function add_rate(model, slot, rate)
  local device = redis.call('HGET', K.SLOT .. slot, 'device_name')
  for _, name in ipairs({model, has(device) and model .. '|' .. device or nil}) do
    local known = redis.call('HGET', K.RATES, name)
    redis.call('HSET', K.RATES, name, tostring(known and (0.7 * known + 0.3 * rate) or rate))
  end
end

-- Seconds since the run of this job began; 0 when it has not begun.
local function elapsed_s(id)
  local started = job_get(id, 'started_at')
  return has(started) and (now_ms() - started) / 1000 or 0
end
