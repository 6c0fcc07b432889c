-- A worker stops and gives up its slot. Its job goes back to the queue; this run does not count as a lost one.
-- Returns the job it held, or ''.
-- include: binding, common, fairness, lifecycle, memory, rates, records
local slot, owner = unpack(ARGV)
go_on_without_memory()

local slot_owner, id, attempt = unpack(redis.call('HMGET', K.SLOT .. slot, 'owner', 'job', 'attempt'))
if slot_owner ~= owner then return '' end
redis.call('SREM', K.IDLE, slot)
redis.call('DEL', K.SLOT .. slot)
redis.call('SREM', K.SLOTS, slot)
redis.call('ZREM', K.LEASES, slot)
if has(id) then
  local is_running = is_current(id, attempt, STATE.RUNNING)
  if is_running then redis.call('HINCRBY', K.JOB .. id, 'starts', -1) end
  if is_running or is_current(id, attempt, STATE.QUEUED) then requeue(id) else settle_charge(id, elapsed_s(id)) end
end
fill_idle_slots()
return id or ''
