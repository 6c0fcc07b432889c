-- Whether a service has room: shared by submit and room, after forecast_lib.lua.

-- Jobs that a service works on (holds a slot for, or delivers), and for how many more it has a slot at once.
-- ``own``: its only slot, '' for all; ``model``: what the next job needs, '' for any.
-- A slot whose job was stopped is free in a step: it counts, unless somebody waits for it.
local function room(own, model)
  local slots = has(own) and {own} or redis.call('SMEMBERS', K.SLOTS)
  local free, stopping, active = 0, 0, {}
  local queue_paused = redis.call('SISMEMBER', K.PAUSED, K.ALL) == 1
  for _, slot in ipairs(slots) do
    local facts = redis.call('HMGET', K.SLOT .. slot, 'owner', 'job', 'attempt', 'draining', 'suspect_at', 'blocked', 'models')
    local up = has(facts[1]) and not has(facts[4]) and not has(facts[5]) and not has(facts[6])
    local usable = up and not queue_paused and redis.call('SISMEMBER', K.PAUSED, slot) == 0
      and (model == '' or set_of(cjson.decode(facts[7]))[model])
    local id = facts[2]
    if has(id) and (owns(id, facts[3], 'queued') or owns(id, facts[3], 'running')) then
      table.insert(active, id)
    elseif usable and has(id) then
      stopping = stopping + 1
    elseif usable then
      free = free + 1
    end
  end
  local waiting
  if has(own) then
    waiting = redis.call('ZCARD', K.LANE .. K.PIN .. own)
  elseif model ~= '' then
    waiting = tonumber(redis.call('HGET', K.WAITING, 'model:' .. model) or 0)
  else
    waiting = 0
    local counts = redis.call('HGETALL', K.WAITING)
    for i = 1, #counts, 2 do
      if counts[i]:sub(1, 6) == 'model:' then waiting = waiting + counts[i + 1] end
    end
  end
  local delivering = 0
  for _, id in ipairs(redis.call('ZRANGE', K.STATE .. 'delivering', 0, 999)) do
    if not has(own) or job_get(id, 'slot') == own then
      delivering = delivering + 1
      table.insert(active, id)
    end
  end
  return free + math.max(0, stopping - waiting) - delivering, active, waiting
end
