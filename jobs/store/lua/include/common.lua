-- Helpers for every script.
--
-- Before a script is sent to Redis, jobs/store/scripts.py puts the files that it includes before it and replaces each
-- constant by its value: K.NAME (keys and their parts), STATE.NAME (job states), CFG.name (limits; times in ms),
-- OBSTACLE.NAME, INTERRUPT.NAME, NOTICE.NAME, EVENT.NAME, DELIVERY.NAME and GAP.NAME (words that Python reads, too).
--
-- Facts of a slot are field, value, … as HSET takes them.

local script_time_ms

-- The time at which this script runs. It does not advance, so values that one script writes in two places agree.
local function now_ms()
  if not script_time_ms then
    local time = redis.call('TIME')
    script_time_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  return script_time_ms
end

-- A number as Redis takes it: without an exponent.
local function int(number)
  return string.format('%d', number)
end

-- Whether a field has a value. HGET returns false for a missing field; '' means "none".
local function has(value)
  return value and value ~= ''
end

local function set_of(list)
  local set = {}
  for _, item in ipairs(list) do set[item] = true end
  return set
end
