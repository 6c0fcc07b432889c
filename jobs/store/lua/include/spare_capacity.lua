-- Whether a service could start one more job at once.
-- include: common, companions, offers, records, slots

-- At most this many of the jobs that a service works on, and of the slots whose job was stopped, are looked at.
local MAX_ACTIVE, MAX_STOPPING = 1000, 100

-- Jobs that wait for a slot: for this one, or for any slot that runs `model`, or all.
local function count_waiting(only_slot, model)
  if has(only_slot) then return tonumber(redis.call('HGET', K.WAITING, 'pin:' .. only_slot) or 0) end
  if model ~= '' then return tonumber(redis.call('HGET', K.WAITING, 'model:' .. model) or 0) end
  local waiting, counts = 0, redis.call('HGETALL', K.WAITING)
  for i = 1, #counts, 2 do
    if counts[i]:sub(1, 6) == 'model:' then waiting = waiting + counts[i + 1] end
  end
  return waiting
end

-- The jobs of a slot that are still to be done there: they were not stopped.
local function present_jobs(slot)
  local record, found = slot_of(slot), {}
  if not has(record.job) then return found end
  for _, held in ipairs({{record.job, record.attempt}, unpack(companions_of(slot))}) do
    local id, attempt = unpack(held)
    local is_present = is_current(id, attempt, STATE.QUEUED) or is_current(id, attempt, STATE.RUNNING)
    if is_present then table.insert(found, id) end
  end
  return found
end

-- Whether a slot takes jobs of this model ('' for any), and its job was stopped and will end within a step. Loading a
-- model takes longer.
local function is_soon_free(slot, model)
  local record = slot_of(slot)
  if not has(record.job) or present_jobs(slot)[1] or record.standing ~= USABLE then return false end
  return tonumber(job_of(record.job).step or 0) > 0 and (model == '' or can_run(slot, model))
end

-- The number of slots without a job that take jobs of this model ('' for any), and of those that will soon.
local function count_free(only_slot, model)
  if is_paused(K.ALL) then return 0, 0 end
  if has(only_slot) then
    local record = slot_of(only_slot)
    local is_usable = record.standing == USABLE and (model == '' or can_run(only_slot, model))
    return is_usable and not has(record.job) and 1 or 0, is_soon_free(only_slot, model) and 1 or 0
  end
  local free, soon = 0, 0
  for _, offer_id in ipairs(model == '' and redis.call('HKEYS', K.OFFERS) or offers_of(model)) do
    local usable = redis.call('ZCOUNT', K.OFFER_SLOTS .. offer_id, USABLE, USABLE)
    free = free + usable - redis.call('ZCARD', K.BUSY .. offer_id)
  end
  for _, slot in ipairs(redis.call('SRANDMEMBER', K.STOPPING, MAX_STOPPING)) do
    if is_soon_free(slot, model) then soon = soon + 1 end
  end
  return free, soon
end

-- The jobs that hold a slot (or this one), except stopped ones.
local function running_jobs(only_slot)
  if has(only_slot) then return present_jobs(only_slot) end
  local ids = redis.call('ZRANGE', K.STATE .. STATE.RUNNING, 0, MAX_ACTIVE - 1)
  for _, id in ipairs(redis.call('ZRANGE', K.ASSIGNED, 0, MAX_ACTIVE - 1)) do table.insert(ids, id) end
  return ids
end

-- Returns how many more jobs would start at once, the ids of the jobs that hold a slot or are being delivered, and how
-- many jobs wait. `only_slot`: the service's only slot, or '' for all. `model`: what the next job needs, or '' for any.
-- A slot whose job was stopped counts if it is free within a step, unless a job waits for it.
local function spare_capacity(only_slot, model)
  local free, stopping = count_free(only_slot, model)
  local active, delivering = running_jobs(only_slot), 0
  for _, id in ipairs(redis.call('ZRANGE', K.STATE .. STATE.DELIVERING, 0, MAX_ACTIVE - 1)) do
    if not has(only_slot) or field_of(K.JOB .. id, 'slot') == only_slot then
      delivering = delivering + 1
      table.insert(active, id)
    end
  end
  local waiting = count_waiting(only_slot, model)
  return free + math.max(0, stopping - waiting) - delivering, active, waiting
end
