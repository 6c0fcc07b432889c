-- Giving waiting jobs to slots.
-- include: attempts, common, events, fairness, lifecycle, offers, queue, records, selection, skips, slots, victims

-- At most this many jobs past their deadline are ended while one is looked for, and this many jobs whose time has come
-- begin to wait when a slot becomes free. The sweep deals with the others.
local MAX_EXPIRED, MAX_ADMITTED = 20, 2

-- Put the job's Celery message into the slot's queue, as kombu does it. Nothing is sent to a slot whose worker fetches
-- its jobs over HTTP.
local function send_message(id, attempt, slot)
  if not MESSAGE[1] or has(slot_of(slot).pulls) then return end
  local values = {[GAP.JOB_ID] = id, [GAP.ATTEMPT] = attempt, [GAP.RETRIES] = int(attempt - 1), [GAP.SLOT] = slot}
  local parts = {}
  for i = 1, #MESSAGE do parts[i] = values[MESSAGE[i]] or MESSAGE[i] end
  redis.call('LPUSH', slot, table.concat(parts))
end

-- Give a job that does not wait to a slot, and start it there or send its message (`start`: as for start_attempt, or
-- nil). Returns the attempt.
local function give(slot, id, start)
  take_turn(id, slot)
  local attempt, now = int(job_of(id).attempt + 1), now_ms()
  set_job(id, {slot = slot, attempt = attempt, assigned_at = int(now)})
  set_slot(slot, {job = id, attempt = attempt})
  unset_slot(slot, {'open'})  -- a slot that pulls gets one job for each request
  index_slot(slot)
  if start then
    start_attempt(id, slot, start.device, start.run)
    return attempt
  end
  redis.call('ZADD', K.ASSIGNED, int(now + CFG.resend_after_ms), id)
  emit(id)
  send_message(id, attempt, slot)
  return attempt
end

-- The same for a waiting job.
local function bind(slot, id, start)
  dequeue(id)
  return give(slot, id, start)
end

-- The job for which a slot is reserved, or nil. The slot is not reserved any more.
local function reserved_job(slot)
  local line, key, model = (slot_of(slot).reserved or ''):match('^([^|]*)|([^|]*)|(.*)$')
  if not line then return nil end
  unreserve(slot)
  return can_run(slot, model) and not is_at_limit(key) and first_job(line, key, {model}) or nil
end

-- Give a slot its next job, or index it as idle. `start`: to start the job at once. Returns the job and its attempt, or
-- nil.
local function fill_slot(slot, start)
  local expired = 0
  while not has(slot_of(slot).job) and not obstacle_of(slot) and not is_paused(K.ALL) do
    local id = reserved_job(slot) or next_job(slot)
    if not id then break end
    local start_by = field_of(K.JOB .. id, 'start_by')
    if not has(start_by) or tonumber(start_by) > now_ms() then return id, bind(slot, id, start) end
    if expired == MAX_EXPIRED then
      redis.call('ZADD', K.UNFILLED, int(now_ms()), slot)
      break
    end
    expire(id)
    expired = expired + 1
  end
  index_slot(slot)
end

-- Let idle slots take a job that has begun to wait.
local function offer_job(id)
  local record = job_of(id)
  while record.line and record.state == STATE.QUEUED and not has(record.slot) and not is_paused(K.ALL)
    and not is_early(record) do
    local slot = not is_at_limit(record.key)
      and idle_slot_for(pin_of(record.line), record.model, awaited_host(id))
    if not slot or not fill_slot(slot) then return end
  end
end

-- Let jobs wait for a slot that may start from now on, at most `limit` of them. Returns their number.
local function admit_due_jobs(limit)
  local due = redis.call('ZRANGEBYSCORE', K.NOT_BEFORE, '-inf', int(now_ms()), 'LIMIT', 0, limit)
  for _, id in ipairs(due) do
    redis.call('ZREM', K.NOT_BEFORE, id)
    if job_of(id).state == STATE.QUEUED and not has(job_of(id).slot) then
      dequeue(id)
      enqueue(id)
      offer_job(id)
      if not has(job_of(id).slot) then emit(id) end
    end
  end
  return #due
end

-- Let an idle slot take a job of a key that may hold one slot more.
local function offer_key(key)
  if is_at_limit(key) or is_paused(K.ALL) then return end
  for _, lane in ipairs(lanes_of(key)) do
    local line, model = lane:match('^(.-)|(.*)$')
    local slot = idle_slot_for(pin_of(line), model)
    if slot and fill_slot(slot) then return end
  end
end

-- Let idle slots take the jobs that can run because of what this script did.
local function offer_freed()
  for _, id in ipairs(requeued) do offer_job(id) end
  for key, _ in pairs(freed_keys) do offer_key(key) end
end

-- Let all idle slots look for a job: the first few now, and the others when fill_unfilled is called again.
local function refill_idle_slots()
  local indexes = {}
  for _, offer_id in ipairs(redis.call('HKEYS', K.OFFERS)) do table.insert(indexes, K.IDLE .. offer_id) end
  if indexes[1] then redis.call('ZUNIONSTORE', K.UNFILLED, #indexes, unpack(indexes)) end
end

-- Returns 1 while there are more of them.
local function fill_unfilled(limit)
  local slots = redis.call('ZPOPMIN', K.UNFILLED, limit)
  for i = 1, #slots, 2 do fill_slot(slots[i]) end
  return redis.call('EXISTS', K.UNFILLED)
end
