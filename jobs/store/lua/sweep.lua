-- Repair what died, and end or delete what is overdue. `beat_ms`: heartbeat interval; only one sweep is made in it.
-- `watch_ms`: how long a slot with a lapsed lease is watched before it is given up. `after_outage`: '1' when Redis did
-- not answer the caller, or refused its writes, since its last sweep.
-- Returns {deliveries to send again as {id, attempt, node}, slots given up, jobs that ended as {id, state}}
--   | false if another process has just swept
-- include: binding, common, lifecycle, memory, outputs_lost, recovery, retention, slots
local beat_ms, watch_ms, after_outage = unpack(ARGV)
go_on_without_memory()

local now = now_ms()

-- Nobody could renew a lease while Redis was away or refused writes: let all leases begin anew. Whoever is dead is
-- noticed one lease later. A long time without a sweep shows an outage too, if all processes were restarted after it.
local function renew_all_leases()
  for _, slot in ipairs(redis.call('ZRANGE', K.LEASES, 0, -1)) do renew_lease(slot) end
  for _, node in ipairs(redis.call('ZRANGE', K.NODES, 0, -1)) do
    redis.call('ZADD', K.NODES, (now + CFG.lease_ms) / 1000, node)
  end
end

local idle_ms = now - tonumber(redis.call('GET', K.SWEPT_AT) or 0)
if after_outage == '1' or (idle_ms > CFG.lease_ms and idle_ms < now) then renew_all_leases() end
if idle_ms >= 0 and idle_ms < tonumber(beat_ms) then return false end
redis.call('SET', K.SWEPT_AT, int(now))

local function overdue(index, limit)
  return redis.call('ZRANGEBYSCORE', index, '-inf', int(now), 'LIMIT', 0, limit)
end

-- A worker that was stopped for a moment renews its lease within a heartbeat, so a slot is given up only when it stays
-- silent while watched.
local function give_up_silent_slots()
  local lost = {}
  for _, slot in ipairs(redis.call('ZRANGEBYSCORE', K.LEASES, '-inf', int(now))) do
    local suspect_at, job, attempt = unpack(redis.call('HMGET', K.SLOT .. slot, 'suspect_at', 'job', 'attempt'))
    if not has(suspect_at) then
      redis.call('HSET', K.SLOT .. slot, 'suspect_at', int(now))
      redis.call('SREM', K.IDLE, slot)
    elseif now - suspect_at >= tonumber(watch_ms) then
      redis.call('DEL', K.SLOT .. slot)
      redis.call('SREM', K.SLOTS, slot)
      redis.call('SREM', K.IDLE, slot)
      redis.call('ZREM', K.LEASES, slot)
      if has(job) then lose(job, attempt) end
      table.insert(lost, slot)
    end
  end
  return lost
end

-- Jobs that were sent to a worker and not started: the message may be lost between the broker and the worker.
local function resend_messages()
  for _, id in ipairs(overdue(K.ASSIGNED, 100)) do
    local attempt, slot = unpack(redis.call('HMGET', K.JOB .. id, 'attempt', 'slot'))
    redis.call('ZADD', K.ASSIGNED, int(now + CFG.resend_after_ms), id)
    if has(slot) and pulls(slot) then
      -- The request that waited for the job ended before it could take it.
      lose(id, attempt)
      release(slot, id, attempt)
    else
      send_message(id, attempt, slot)
    end
  end
end

-- Deliveries whose lease has lapsed. Returns those to send again; a host that stays away has lost its frames.
local function find_lapsed_deliveries()
  local redeliveries = {}
  for _, id in ipairs(overdue(K.DELIVERING, 100)) do
    local attempt, node, gone_at = unpack(redis.call('HMGET', K.JOB .. id, 'attempt', 'node', 'node_gone_at'))
    redis.call('ZADD', K.DELIVERING, int(now + 2 * CFG.resend_after_ms), id)
    if tonumber(redis.call('ZSCORE', K.NODES, node) or 0) * 1000 > now then
      redis.call('HDEL', K.JOB .. id, 'node_gone_at')
      table.insert(redeliveries, {id, attempt, node})
    elseif not has(gone_at) then
      redis.call('HSET', K.JOB .. id, 'node_gone_at', int(now))
    elseif now - gone_at >= CFG.node_grace_ms then
      lose_frames(id)
    end
  end
  return redeliveries
end

local function delete_old_records()
  for _, id in ipairs(overdue(K.EXPIRING, 500)) do
    if holds_slot(id) then
      redis.call('ZADD', K.EXPIRING, int(now + CFG.lease_ms), id)  -- ended from outside, its worker has not stopped yet
    else
      delete_record(id)
    end
  end
end

local lost = give_up_silent_slots()
resend_messages()
local redeliveries = find_lapsed_deliveries()
for _, id in ipairs(overdue(K.DEADLINES, 500)) do expire(id) end
delete_old_records()
fill_idle_slots()
return {redeliveries, lost, ended}
