-- Jobs that would wait too long take the slot of a run of a lower class: it stores a checkpoint and goes on later. The
-- slot is reserved for the lane of the waiting job, so the first job of that lane gets it.
-- include: common, forecasting, interrupts, offers, queue, records, rivals, slots, victims

-- At most this many keys are looked at in search of a job, in the order in which they are next.
local MAX_KEYS = 8

-- Whether a key may hold one slot more, besides those that are reserved for it.
local function may_reserve(key)
  local limit = redis.call('HGET', K.LIMITS, key)
  if not limit then return true end
  local held = redis.call('SCARD', K.ACTIVE .. key)
  for _, lane in ipairs(redis.call('SMEMBERS', K.KEY_LANES .. key)) do
    local line, model = lane:match('^(.-)|(.*)$')
    held = held + reserved_for(lane_name(line, key, model))
  end
  return held < tonumber(limit)
end

-- The next job of a line and model for which no slot is reserved, and its lane; nil when there is none.
local function next_preemptor(line, model)
  local first, score, of
  local ready = redis.call('ZRANGE', K.READY .. line .. '|' .. model, 0, MAX_KEYS - 1, 'WITHSCORES')
  for i = 1, #ready, 2 do
    local key, lane = ready[i], lane_name(line, ready[i], model)
    local reserved = reserved_for(lane)
    local id = ready[i + 1] ~= 'inf' and redis.call('ZRANGE', K.LANE .. lane, reserved, reserved)[1]
    if id and may_reserve(key) then
      local place = ready[i + 1] + reserved * mean_seconds({model})
      if not first or place < score then first, score, of = id, place, lane end
    end
  end
  return first, of
end

-- The slot whose run is the best victim for a job of this model, and whether it has the model in memory; nil for none.
-- `lower`: the classes whose runs may be interrupted, lowest first.
local function victim_for(pin, model, lower)
  if pin then
    local job = slot_of(pin).victim and can_run(pin, model) and job_of(slot_of(pin).job)
    if job and set_of(lower)[job.class] then return pin, warm_models(pin)[model] end
    return nil
  end
  for _, class in ipairs(lower) do
    local slot = redis.call('ZREVRANGE', K.WARM_VICTIMS .. class .. '|' .. model, 0, 0)[1]
    if slot then return slot, true end
  end
  for _, class in ipairs(lower) do
    local slot, score
    for _, offer in ipairs(offers_of(model)) do
      local first = redis.call('ZREVRANGE', K.VICTIMS .. class .. '|' .. offer, 0, 0, 'WITHSCORES')
      if first[1] and (not slot or tonumber(first[2]) > score) then slot, score = first[1], tonumber(first[2]) end
    end
    if slot then return slot, false end
  end
end

-- Mean seconds that loading a model took, as the workers measured it; 0 before the first measurement.
local function load_s(model)
  local text = redis.call('HGET', K.MEASURES, '["' .. FAMILY.LOAD .. '","' .. model .. '"]') or ''
  local count, sum = 0, 0
  for name, number in text:gmatch('(%S+):(%S+)') do
    if name == 'sum' then sum = number else count = count + number end
  end
  return count > 0 and sum / count or 0
end

-- For how long a waiting job will have waited when it gets a slot, and how much of that is left, seconds.
local function whole_wait_s(id)
  local record = job_of(id)
  local _, left_s = place_and_wait(id)
  return (now_ms() - math.max(record.created_at, record.not_before or 0)) / 1000 + (left_s or 0), left_s or 0
end

-- Let the next job of this line and model take the slot of a run, if that one or the last one would wait too long
-- otherwise. Returns the job whose run is interrupted, or nil.
local function preempt_for(line, model)
  if not next(PREEMPTS) or is_paused(K.ALL) then return nil end
  -- Most often there is no victim, and nothing else needs to be looked at.
  if takes_turns(line) and not victim_for(nil, model, PREEMPTS[line] or {}) then return nil end
  local id, lane = next_preemptor(line, model)
  local lower = id and PREEMPTS[job_of(id).class]
  if not lower then return nil end
  local slot, is_warm = victim_for(pin_of(line), model, lower)
  if not slot then return nil end
  local last = takes_turns(line) and redis.call('ZREVRANGE', K.ORDER .. line .. '|' .. model, 0, 0)[1] or id
  local wait_s, left_s = whole_wait_s(id)
  local last_wait_s, last_left_s = whole_wait_s(last)
  if 1000 * math.max(wait_s, last_wait_s) <= CFG.preempt_after_ms then return nil end
  -- The model must be loaded for this job, and the other one again when the run goes on: only if that saves time.
  local victim = slot_of(slot).job
  local loading_s = is_warm and 0 or load_s(model) + load_s(job_of(victim).model)
  if math.max(left_s, last_left_s) <= loading_s then return nil end
  if not interrupt_run(victim, INTERRUPT.PREEMPT) then return nil end
  reserve(slot, lane)
  forget_slots()
  return victim
end
