-- Whether a service could start one more job at once.
-- include: common, records, slots

-- Jobs that wait for a slot: for this one, or for any slot that runs `model`, or all.
local function count_waiting(only_slot, model)
  if has(only_slot) then return redis.call('ZCARD', K.LANE .. K.PIN .. only_slot) end
  if model ~= '' then return tonumber(redis.call('HGET', K.WAITING, 'model:' .. model) or 0) end
  local waiting, counts = 0, redis.call('HGETALL', K.WAITING)
  for i = 1, #counts, 2 do
    if counts[i]:sub(1, 6) == 'model:' then waiting = waiting + counts[i + 1] end
  end
  return waiting
end

-- Whether the job that a slot holds is still to be done there: it was not stopped.
local function works_on(slot, id)
  local attempt = redis.call('HGET', K.SLOT .. slot, 'attempt')
  return is_current(id, attempt, STATE.QUEUED) or is_current(id, attempt, STATE.RUNNING)
end

-- Whether a slot is free within a step of its job, which was stopped. Loading a model takes longer.
local function stops_soon(id)
  return tonumber(job_get(id, 'step') or 0) > 0
end

-- Returns how many more jobs would start at once, the ids of the jobs that hold a slot or are being delivered, and how
-- many jobs wait. `only_slot`: the service's only slot, or '' for all. `model`: what the next job needs, or '' for any.
-- A slot whose job was stopped counts if it is free within a step, unless a job waits for it.
local function spare_capacity(only_slot, model)
  local slots = has(only_slot) and {only_slot} or redis.call('SMEMBERS', K.SLOTS)
  local free, stopping, active = 0, 0, {}
  for _, slot in ipairs(slots) do
    local facts = slot_facts(slot)
    local id = has(facts[JOB]) and facts[JOB]
    if id and works_on(slot, id) then
      table.insert(active, id)
    else
      local obstacle = obstacle_of(slot, facts)
      local is_usable = not obstacle or obstacle == OBSTACLE.CLOSED
      if is_usable and (model == '' or can_run(facts, model)) then
        if not id then
          free = free + 1
        elseif stops_soon(id) then
          stopping = stopping + 1
        end
      end
    end
  end
  local delivering = 0
  for _, id in ipairs(redis.call('ZRANGE', K.STATE .. STATE.DELIVERING, 0, 999)) do
    if not has(only_slot) or job_get(id, 'slot') == only_slot then
      delivering = delivering + 1
      table.insert(active, id)
    end
  end
  local waiting = count_waiting(only_slot, model)
  return free + math.max(0, stopping - waiting) - delivering, active, waiting
end
