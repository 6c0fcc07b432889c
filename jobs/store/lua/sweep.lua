-- Repair what died, and end or delete what is overdue. A call does a bounded part of it; the caller goes on while there
-- is more.
-- `beat_ms`: heartbeat interval; only one sweep is begun in it. `watch_ms`: how long a slot with a lapsed lease is
-- watched before it is given up. `after_outage`: '1' when Redis did not answer the caller, or refused its writes, since
-- its last sweep. `goes_on`: '1' for a further part of a sweep.
-- Returns {deliveries to send again as {id, attempt, node}, slots given up, jobs whose runs were
--   interrupted for others, 1 if there is more}
--   | false if another process has just swept
-- include: binding, common, forgetting, lifecycle, memory, offers, outputs_lost, preemption, records
-- include: recovery, retention, slots
local beat_ms, watch_ms, after_outage, goes_on = unpack(ARGV)
go_on_without_memory()

-- How many leases are renewed in one call, how often a slot is looked for that a job could take from another, and how
-- many slots, jobs and deliveries are dealt with, so that it does not hold Redis for long.
local MAX_RENEWALS, MAX_TRIES, left = 200, 5, 20
local now, is_more = now_ms(), false

-- Nobody could renew a lease while Redis was away or refused writes: let all leases begin anew. Whoever is dead is
-- noticed one lease later. A long time without a sweep shows an outage too, if all processes were restarted after it.
local function begin_renewals()
  redis.call('ZUNIONSTORE', K.RENEWALS, 1, K.LEASES)
  for _, node in ipairs(redis.call('ZRANGE', K.NODES, 0, -1)) do
    redis.call('ZADD', K.NODES, (now + CFG.lease_ms) / 1000, node)
  end
end

local function renew_leases()
  local slots = redis.call('ZPOPMIN', K.RENEWALS, MAX_RENEWALS)
  for i = 1, #slots, 2 do
    if slot_of(slots[i]).owner then renew_lease(slots[i]) end
  end
end

local idle_ms = now - tonumber(redis.call('GET', K.SWEPT_AT) or 0)
if goes_on ~= '1' and (after_outage == '1' or (idle_ms > CFG.lease_ms and idle_ms < now)) then begin_renewals() end
renew_leases()
if goes_on ~= '1' and idle_ms >= 0 and idle_ms < tonumber(beat_ms) then return false end
redis.call('SET', K.SWEPT_AT, int(now))

local function overdue(index)
  local members = redis.call('ZRANGEBYSCORE', index, '-inf', int(now), 'LIMIT', 0, left)
  left = left - #members
  is_more = is_more or left == 0
  return members
end

-- A worker that was stopped for a moment renews its lease within a heartbeat, so a slot is given up only when it stays
-- silent while watched.
local function give_up_silent_slots()
  local lost = {}
  for _, slot in ipairs(overdue(K.LEASES)) do
    local record = slot_of(slot)
    local suspect_at, job, attempt, pulls = record.suspect_at, record.job, record.attempt, has(record.pulls)
    if has(suspect_at) and now - suspect_at >= tonumber(watch_ms) then
      lose_companions(slot)
      remove_slot(slot)
      -- A worker over HTTP without a job ends by asking for no other one.
      if has(job) or not pulls then redis.call('HINCRBY', K.COUNTERS, 'lost_leases', 1) end
      if has(job) and lose(job, attempt) then redis.call('HINCRBY', K.COUNTERS, 'lost_runs', 1) end
      table.insert(lost, slot)
    else
      if not has(suspect_at) then set_slot(slot, {suspect_at = int(now)}) end
      redis.call('ZADD', K.LEASES, int(slot_of(slot).suspect_at + watch_ms), slot)
      index_slot(slot)
    end
  end
  return lost
end

-- Jobs that were sent to a worker and not started: the message may be lost between the broker and the worker.
local function resend_messages()
  for _, id in ipairs(overdue(K.ASSIGNED)) do
    local record = job_of(id)
    redis.call('ZADD', K.ASSIGNED, int(now + CFG.resend_after_ms), id)
    if has(record.slot) and has(slot_of(record.slot).pulls) then
      -- The request that waited for the job ended before it could take it.
      local slot, attempt = record.slot, record.attempt
      lose(id, attempt)
      release(slot, id, attempt)
    else
      send_message(id, record.attempt, record.slot)
    end
  end
end

-- Deliveries whose lease has lapsed. Returns those to send again; a host that stays away has lost its frames.
local function find_lapsed_deliveries()
  local redeliveries = {}
  for _, id in ipairs(overdue(K.DELIVERING)) do
    local record = job_of(id)
    redis.call('ZADD', K.DELIVERING, int(now + 2 * CFG.resend_after_ms), id)
    if tonumber(redis.call('ZSCORE', K.NODES, record.node) or 0) * 1000 > now then
      unset_job(id, {'node_gone_at'})
      table.insert(redeliveries, {id, record.attempt, record.node})
    elseif not has(record.node_gone_at) then
      set_job(id, {node_gone_at = int(now)})
    elseif now - record.node_gone_at >= CFG.node_grace_ms then
      lose_frames(id)
    end
  end
  return redeliveries
end

local function delete_old_records()
  for _, id in ipairs(overdue(K.EXPIRING)) do
    if holds_slot(id) then
      redis.call('ZADD', K.EXPIRING, int(now + CFG.lease_ms), id)  -- ended from outside, its worker has not stopped yet
    else
      delete_record(id)
    end
  end
end

-- Let waiting jobs take the slots of others. Returns the jobs whose runs were interrupted.
local function preempt_runs()
  local victims, tries = {}, MAX_TRIES
  for _, group in ipairs(redis.call('ZRANGEBYSCORE', K.PREEMPTORS, '-inf', int(now), 'LIMIT', 0, tries)) do
    local line, model = group:match('^(.-)|(.*)$')
    local victim = true
    while victim and tries > 0 do
      tries, victim = tries - 1, preempt_for(line, model)
      table.insert(victims, victim)
    end
    if not victim then redis.call('ZADD', K.PREEMPTORS, 'XX', int(now + beat_ms), group) end
  end
  is_more = is_more or tries == 0
  return victims
end

local is_renewing = redis.call('EXISTS', K.RENEWALS) == 1
local lost = is_renewing and {} or give_up_silent_slots()
resend_messages()
local redeliveries = find_lapsed_deliveries()
for _, id in ipairs(overdue(K.DEADLINES)) do expire(id) end
delete_old_records()
left = left - admit_due_jobs(left)
is_more = is_more or left == 0
forget_keys()
offer_freed()
is_more = fill_unfilled(math.max(1, left)) == 1 and not is_paused(K.ALL) or is_more or is_renewing
local victims = preempt_runs()
return {redeliveries, lost, victims, is_more and 1 or 0}
