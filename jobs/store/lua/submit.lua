-- Accept a job: write its record, and bind it if a slot is idle, otherwise put it in the queue.
-- `max_waiting`: of the whole queue. `key_max_waiting`, `key_max_per_minute`: of the API key; 0: no limit.
-- `idempotency_key`: '' for none. `fingerprint`: of the request. `reuse_key`: digest of a request for which the outputs
-- of an equal one will do; ''. `start_within_ms`: 0 for no deadline; counts from the time from which the job may start.
-- `only_if_idle`: '1' to refuse a job that would not start at once; `only_slot`: the only slot it may then take, or ''.
-- `fields`: field, value, … of the record (key, class, model, line, work, …); `video` if its output is one.
-- Returns {'ok', created_at, slot that runs it at once or '', forecast, jobs whose runs were interrupted}
--   | {'duplicate'} | {'repeat', id} | {'reuse', id} | {'mismatch', id}
--   | {'busy'} | {'full', waiting} | {'model_full', limit} | {'key_full', waiting} | {'too_fast', seconds to wait}
--   | {'input_gone', name}
-- include: binding, common, events, files, forecasting, offers, preemption, queue, records
-- include: slots, spare_capacity, states
-- on demand: add_notice, add_webhook_delivery, delayed_by, delivery_waits_for, enqueue, fitting_slots, index_lanes
-- on demand: is_kept, mean_seconds, offer_job, place_and_wait, preempt_for, rival_models, spare_capacity
-- on demand: start_attempt, unreserve, waits_for
local id, max_waiting, key_max_waiting, key_max_per_minute, idempotency_key, fingerprint, reuse_key, start_within_ms,
  only_if_idle, only_slot = unpack(ARGV)
local fields = {unpack(ARGV, 11)}

local UNMEASURED_JOB_S = 4

local record = table_of(fields)
local key, line, now = record.key, record.line, now_ms()
local idempotency_name = K.IDEMPOTENCY .. key .. ':' .. idempotency_key
local reuse_name = K.REUSE .. key .. ':' .. reuse_key
-- A job in one of these states has no outputs, and will have none.
local IN_VAIN = {[STATE.FAILED] = true, [STATE.CANCELLED] = true, [STATE.EXPIRED] = true}

local function note_idempotency_key(of)
  if idempotency_key == '' then return end
  redis.call('SET', idempotency_name, of .. ' ' .. fingerprint, 'PX', CFG.idempotency_ttl_ms)
end

-- The answer to a request whose idempotency key was used before; nil for a new one.
local function repeated()
  local known = idempotency_key ~= '' and redis.call('GET', idempotency_name)
  if not known then return nil end
  local first_id, first_fingerprint = known:match('^(%S+) (%S*)$')
  -- Records may be kept for a shorter time than these keys: then there is no answer to repeat.
  if redis.call('EXISTS', K.JOB .. first_id) == 0 then return nil end
  return {first_fingerprint == fingerprint and 'repeat' or 'mismatch', first_id}
end

-- The answer to a request that equals an earlier one whose outputs exist or are being made; nil for none.
local function reused()
  local known = reuse_key ~= '' and redis.call('GET', reuse_name)
  if not known then return nil end
  local state, removed_at = unpack(redis.call('HMGET', K.JOB .. known, 'state', 'removed_at'))
  if not state or IN_VAIN[state] or removed_at then return nil end
  note_idempotency_key(known)
  return {'reuse', known}
end

-- Why the id or the inputs cannot be used; nil when they can.
local function unusable()
  -- An id stays taken while files of an earlier job of this name may still exist.
  local is_taken = redis.call('EXISTS', K.JOB .. id, K.DELETED .. id) > 0 or redis.call('ZSCORE', K.DUE, outputs_of(id))
  if is_taken then return {'duplicate'} end
  for name in (record.inputs or ''):gmatch('%S+') do
    if not is_kept(name) then return {'input_gone', name} end
  end
end

-- The number of jobs that count towards a limit: those that wait, and paused ones, which will wait again. `suffix`: of
-- the indexes, for the jobs of a key.
local function count_limited(suffix)
  return redis.call('ZCARD', K.STATE .. STATE.QUEUED .. suffix) + redis.call('ZCARD', K.STATE .. STATE.PAUSED .. suffix)
end

-- Which limit the job exceeds; nil when none. Counts the job towards the limit per minute.
local function over_limit()
  local waiting = count_limited('')
  if waiting >= tonumber(max_waiting) then return {'full', waiting} end
  if record.model_max_waiting then
    local of_model = tonumber(redis.call('HGET', K.WAITING, 'model:' .. record.model) or 0)
    if of_model >= tonumber(record.model_max_waiting) then return {'model_full', record.model_max_waiting} end
  end
  if key_max_waiting ~= '0' then
    local of_key = count_limited(':' .. key)
    if of_key >= tonumber(key_max_waiting) then return {'key_full', of_key} end
  end
  if key_max_per_minute == '0' then return nil end
  local minute = K.MINUTE .. key .. ':' .. int(math.floor(now / 60000))
  if tonumber(redis.call('GET', minute) or 0) >= tonumber(key_max_per_minute) then
    return {'too_fast', math.ceil(60 - (now / 1000) % 60)}
  end
  redis.call('INCR', minute)
  redis.call('EXPIRE', minute, 120)
end

local function write_record()
  local sequence = int(redis.call('HINCRBY', K.COUNTERS, 'submitted', 1))
  new_record(K.JOB .. id, record, fields)
  set_job(id, {sequence = sequence, created_at = int(now), attempt = '0'})
  if record.webhook == nil then
    local of_key = redis.call('HGET', K.WEBHOOKS, key)  -- receives the events of all jobs of the key
    if of_key and not cjson.decode(of_key).gone_at then set_job(id, {webhook = of_key}) end
  end
  if start_within_ms ~= '0' then
    set_job(id, {start_by = int(may_start_at(record) + start_within_ms)})
  end
  for _, index in ipairs(record.video and {K.JOBS, K.VIDEOS} or {K.JOBS}) do
    redis.call('ZADD', index, int(now), id)
    if key ~= K.NOBODY then redis.call('ZADD', index .. ':' .. key, int(now), id) end
  end
  note_idempotency_key(id)
  if reuse_key ~= '' then redis.call('SET', reuse_name, id, 'PX', int(CFG.result_ttl_ms)) end
end

-- An idle slot has looked at all waiting jobs, so it can take this one unless its key is at its limit.
local function idle_slot()
  if is_early(record) or is_paused(K.ALL) or is_at_limit(key) then return nil end
  if redis.call('EXISTS', K.UNFILLED) == 1 then return nil end
  return idle_slot_for(pin_of(line), record.model)
end

-- The expected time that a subscriber is told. Before any job was measured, a job counts as Devoid Generator counts it.
local function quote_s(expected)
  if expected[2] ~= '' then return expected[2] end
  local slots = fitting_slots(pin_of(line), record.model)
  return tostring(UNMEASURED_JOB_S * expected[1] / math.max(1, slots.count))
end

local answer = repeated() or reused()
if answer then return answer end
if only_if_idle == '1' and spare_capacity(only_slot, record.model) <= 0 then
  -- The job may be the one that keeps the service busy: a repeated call gets the answer of the first one.
  return {redis.call('EXISTS', K.JOB .. id) == 1 and 'duplicate' or 'busy'}
end
local refusal = unusable() or over_limit()
if refusal then return refusal end
write_record()
use_inputs(record.inputs or '')
set_state(id, STATE.QUEUED)
local slot, victim = idle_slot(), nil
if slot then
  if takes_turns(line) then join_turns(line, key, record.model, models_of(slot)) end
  give(slot, id)
else
  enqueue(id)
  offer_job(id)
  if not has(job_of(id).slot) then
    emit(id)
    if PREEMPTS[record.class] and not is_early(record) then victim = preempt_for(line, record.model) end
  end
end
local expected = forecast(id)
if expected[2] ~= '' then set_job(id, {promised_s = expected[2]}) end  -- compared with the real time when it ends
if record.mailbox then set_job(id, {quoted_s = quote_s(expected)}) end
return {'ok', int(now), job_of(id).slot or '', expected, {victim}}
