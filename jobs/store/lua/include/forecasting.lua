-- Where a waiting job stands, when it will be done, and what it waits for.
-- include: common, offers, places, queue, rates, records, rivals, skips, slots, victims

-- Of the slots that could run a job: this many of those that become free first are looked at, and this many in search
-- of one without pinned jobs.
local SOONEST, MAX_PINNED = 3, 32

-- What was found for a slot and model, for the other jobs of the same call.
local slots_found = {}

-- Seconds until a bound job is computed: what its worker reported last, less the time since then; otherwise the average
-- of its model, less the time that it has been running. nil when neither is known.
local function computed_in_s(id)
  local record = job_of(id)
  if has(record.eta_s) then
    local since_ms = has(record.eta_at) and now_ms() - record.eta_at or 0
    return math.max(0, record.eta_s - since_ms / 1000)
  end
  local rate = rate_of(record.model, has(record.slot) and record.slot)
  return rate and math.max(0, rate * record.work - elapsed_s(id)) or nil
end

-- Seconds until a slot is done with its present job, as far as that is known: with the present step of a run that is
-- to give it back.
local function remaining_s(slot)
  local id = field_of(K.SLOT .. slot, 'job')
  local record = has(id) and job_of(id) or {}
  if record.state ~= STATE.QUEUED and record.state ~= STATE.RUNNING then return 0 end
  local left_s = computed_in_s(id) or 0
  return has(record.interrupt) and left_s / math.max(1, (record.steps or 1) - (record.step or 0)) or left_s
end

-- Seconds until a slot is free for jobs for which it is not reserved.
local function free_in_s(slot)
  local model = next(PREEMPTS) and (field_of(K.SLOT .. slot, 'reserved') or ''):match('|([^|]*)$')
  return remaining_s(slot) + (model and mean_seconds({model}) or 0)
end

-- What is known of the slots that could run a job: `count`, seconds until the first is free (`free_in_s`), `pins`: jobs
-- pinned to each of them; `paused` and `blocked` name the first slot that only an operator or its back end keeps from
-- running the job.
local function find_slots(pin, model)
  local found = {count = 0, pins = 0}
  local function note(name, slot)
    if slot and (not found[name] or slot < found[name]) then found[name] = slot end
  end
  if pin then
    local standing = can_run(pin, model) and slot_of(pin).standing
    if standing == IS_PAUSED then note(OBSTACLE.PAUSED, pin) end
    if standing == IS_BLOCKED then note(OBSTACLE.BLOCKED, pin) end
    if standing == USABLE then found.count, found.free_in_s = 1, free_in_s(pin) end
    return found
  end
  local offers = offers_of(model)
  for i = 1, math.min(#offers, MAX_OFFERS) do
    local slots, busy = K.OFFER_SLOTS .. offers[i], K.BUSY .. offers[i]
    local usable = redis.call('ZCOUNT', slots, USABLE, USABLE)
    if usable == 0 then
      note(OBSTACLE.PAUSED, redis.call('ZRANGEBYSCORE', slots, IS_PAUSED, IS_PAUSED, 'LIMIT', 0, 1)[1])
      note(OBSTACLE.BLOCKED, redis.call('ZRANGEBYSCORE', slots, IS_BLOCKED, IS_BLOCKED, 'LIMIT', 0, 1)[1])
    else
      local soonest_s = usable > redis.call('ZCARD', busy) and 0 or math.huge
      if soonest_s > 0 then
        for _, slot in ipairs(redis.call('ZRANGE', busy, 0, SOONEST - 1)) do
          soonest_s = math.min(soonest_s, free_in_s(slot))
        end
      end
      found.count, found.free_in_s = found.count + usable, math.min(found.free_in_s or math.huge, soonest_s)
    end
  end
  if found.count > 0 and redis.call('HEXISTS', K.WAITING, 'pins') == 1 then
    local counters = {}
    for i = 1, math.min(#offers, MAX_OFFERS) do
      local slots = redis.call('ZRANGEBYSCORE', K.OFFER_SLOTS .. offers[i], USABLE, USABLE, 'LIMIT', 0, MAX_PINNED)
      for _, slot in ipairs(slots) do table.insert(counters, 'pin:' .. slot) end
    end
    found.pins = math.huge
    for _, jobs in ipairs(redis.call('HMGET', K.WAITING, unpack(counters))) do
      found.pins = math.min(found.pins, tonumber(jobs or 0))
    end
  end
  return found
end

-- After a slot was reserved, what was found does not hold any more.
local function forget_slots()
  slots_found = {}
end

local function fitting_slots(pin, model)
  local name = (pin or '') .. '|' .. model
  if not slots_found[name] then slots_found[name] = find_slots(pin, model) end
  return slots_found[name]
end

-- What a job waits for when no slot can run it at the moment, for people; nil when one can.
local function waits_for(record, slots)
  if slots.count > 0 then return is_paused(K.ALL) and 'resume of the queue' or nil end
  if slots.blocked then
    -- Only a GPU is blocked by its spool; a back end is blocked while it is away.
    if not slots.blocked:find('gpu%d+$') then return 'slot ' .. slots.blocked end
    local slot = slot_of(slots.blocked)
    local store_why, why = redis.call('HGET', K.AWAY_WHY, slot.node or ''), slot.blocked or ''
    if has(store_why) then why = why .. ', for ' .. store_why end
    return 'room in the spool of slot ' .. slots.blocked .. ' (' .. why .. ')'
  end
  if slots.paused then return 'resume of slot ' .. slots.paused end
  return has(record.pin) and 'slot ' .. record.pin or 'model ' .. record.model
end

-- What a delivery waits for, for people; '' when it is being made.
local function delivery_waits_for(record)
  local announced_until = tonumber(redis.call('ZSCORE', K.NODES, record.node or '') or 0)
  if announced_until < now_ms() / 1000 then return 'a delivery worker' end
  return record.delivery_problem or ''
end

-- The place of a waiting job, and seconds that it has still to wait for a slot (nil when none can run it). The first
-- jobs of a lane get the slots that are reserved for it.
local function place_and_wait(id)
  local record = job_of(id)
  local line, key, model = record.line, record.key, record.model
  local pin, lane = pin_of(line), lane_name(line, key, model)
  local models, slots = rival_models(pin, model), fitting_slots(pin, model)
  local reserved = next(PREEMPTS) and reserved_for(lane) or 0
  local rank = reserved > 0 and redis.call('ZRANK', K.LANE .. lane, id)
  if rank and rank < reserved then
    return rank + 1, remaining_s(redis.call('SRANDMEMBER', K.RESERVED .. lane))
  end
  -- The slots take their pinned jobs first, all at the same time.
  local place = place_of(id, record, models) + slots.pins * slots.count
  if slots.count == 0 then return place, nil end
  return place, slots.free_in_s + math.max(0, place - reserved - 1) * mean_seconds(models) / slots.count
end

-- Why a job waits although a slot could run it, for people; '' when it is only not its turn.
local function delayed_by(id, models)
  local record, host = job_of(id), awaited_host(id)
  if host and record.skipped_at then return 'a slot of host ' .. host .. ', which has its checkpoint' end
  if has(record.preempted) then return 'a slot, since a job of a higher class took its own' end
  return is_off_peak(record.line) and count_classes(models) > 0 and 'jobs of other classes' or ''
end

-- {position, eta_s or '', what the job waits for or ''}. The position is 0 once the job is bound, and -1 when it is
-- paused, over, or may not start yet. Such a job waits for a time: digits, ms since 1970.
local function forecast(id)
  local record = job_of(id)
  if record.state == STATE.DELIVERING then return {0, '', delivery_waits_for(record)} end
  if record.state == STATE.PAUSED then return {-1, '', 'resume of the job'} end
  if record.state ~= STATE.QUEUED and record.state ~= STATE.RUNNING then return {-1, '', ''} end
  if has(record.slot) then
    local left_s = computed_in_s(id)
    return {0, left_s and string.format('%.3f', left_s) or '', ''}
  end

  if not record.line then return {1, '', ''} end  -- written by an older version, and not adopted yet
  local pin, rate = pin_of(record.line), rate_of(record.model)
  if is_early(record) then
    local early_s = (record.not_before - now_ms()) / 1000
    return {-1, rate and string.format('%.3f', early_s + rate * record.work) or '', record.not_before}
  end
  local place, wait_s = place_and_wait(id)
  local obstacle = waits_for(record, fitting_slots(pin, record.model))
  if obstacle then return {place, '', obstacle} end
  local models = rival_models(pin, record.model)
  local _, is_measured = mean_seconds(models)
  local is_known = wait_s and rate and is_measured
  return {place, is_known and string.format('%.3f', wait_s + rate * record.work) or '', delayed_by(id, models)}
end
