-- A worker renews the lease of its slot. `facts`: of the slot.
-- Returns {'ok', current job or '', its attempt, ms since it was ended from outside or exceeded its run limit, or -1}
--   | {'gone'}
-- include: binding, common, memory, slots
local slot, owner = unpack(ARGV)
local facts = {unpack(ARGV, 3)}
go_on_without_memory()

if redis.call('HGET', K.SLOT .. slot, 'owner') ~= owner then return {'gone'} end
local now = now_ms()
if facts[1] then redis.call('HSET', K.SLOT .. slot, unpack(facts)) end
renew_lease(slot)
redis.call('HDEL', K.SLOT .. slot, 'suspect_at')
local id, attempt = unpack(redis.call('HMGET', K.SLOT .. slot, 'job', 'attempt'))
if not has(id) then
  local bound_id, bound_attempt = fill_slot(slot)
  return {'ok', bound_id or '', tonumber(bound_attempt or 0), -1}
end
local record = redis.call('HMGET', K.JOB .. id, 'finished_at', 'started_at', 'max_run_ms')
local finished_at, started_at, max_run_ms = unpack(record)
local overdue_ms = -1
if has(finished_at) then
  overdue_ms = now - finished_at
elseif has(started_at) and has(max_run_ms) then
  overdue_ms = math.max(-1, now - started_at - max_run_ms)
end
return {'ok', id, tonumber(attempt), overdue_ms}
