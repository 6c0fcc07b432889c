-- Forget what keys were served, and what classes were given at the slots of an offer (K.SERVED), when the key has had
-- no job, or the offer no slot, for as long as records are kept. A key that returns then starts level with the others.
-- include: common, usage

-- Fields that are looked at in one call, so that it does not hold Redis for long, and the least time from the beginning
-- of one walk through all of them to that of the next.
local FIELDS, WALK_INTERVAL_MS = 100, 600000

-- Whether nothing uses a field: its key has no job, or its offer no slot.
local function is_unused(name, known)
  local key = name:match('^[^|]*|([^|]*)|')
  if key then
    if known[key] == nil then known[key] = redis.call('EXISTS', K.KEY_LANES .. key, K.ACTIVE .. key) == 0 end
    return known[key]
  end
  local offer = name:match('|(.*)$')
  return offer and redis.call('HEXISTS', K.OFFERS, offer) == 0
end

-- Compare unused fields with what K.UNUSED says of them: value and time. `values`: field, value, …
local function forget_unused(values)
  local names, known, new_notes, gone, used, now = {}, {}, {}, {}, {}, now_ms()
  for i = 1, #values, 2 do names[#names + 1] = values[i] end
  local notes = redis.call('HMGET', K.UNUSED, unpack(names))
  for i, name in ipairs(names) do
    local value, note = values[2 * i], notes[i] or ''
    local noted_value, since = note:match('^(%S+) (%d+)$')
    if not is_unused(name, known) then
      if notes[i] then used[#used + 1] = name end
    elseif value ~= noted_value then
      new_notes[#new_notes + 1] = name
      new_notes[#new_notes + 1] = value .. ' ' .. int(now)
    elseif now - since >= CFG.result_ttl_ms then
      gone[#gone + 1] = name
      used[#used + 1] = name
    end
  end
  if gone[1] then redis.call('HDEL', K.SERVED, unpack(gone)) end
  if used[1] then redis.call('HDEL', K.UNUSED, unpack(used)) end
  if new_notes[1] then redis.call('HSET', K.UNUSED, unpack(new_notes)) end
end

-- Go on with the walk through all fields.
local function walk_served()
  local began_at, cursor = unpack(redis.call('HMGET', K.SERVED_WALK, 'began_at', 'cursor'))
  if not cursor and now_ms() - (began_at or 0) < WALK_INTERVAL_MS then return end
  local next_cursor, values = unpack(redis.call('HSCAN', K.SERVED, cursor or 0, 'COUNT', FIELDS))
  if values[1] then forget_unused(values) end
  if not cursor then redis.call('HSET', K.SERVED_WALK, 'began_at', int(now_ms())) end
  if next_cursor == '0' then
    redis.call('HDEL', K.SERVED_WALK, 'cursor')
  else
    redis.call('HSET', K.SERVED_WALK, 'cursor', next_cursor)
  end
end

-- Do a part of all this.
local function forget_keys()
  walk_served()
  forget_usage_keys()
end
