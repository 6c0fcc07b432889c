-- A worker renews the lease of its slot. `facts`: of the slot.
-- Returns {'ok', current job or '', its attempt, ms since it was ended from outside or exceeded its run limit, or -1,
--   1 if it gives up the memory of its device}
--   | {'gone'}
-- include: binding, common, memory, offers, records, slots
local slot, owner = unpack(ARGV)
local facts = {unpack(ARGV, 3)}
go_on_without_memory()

local record = slot_of(slot)
if record.owner ~= owner then return {'gone'} end
set_facts(slot, facts)
renew_lease(slot)
local yields = redis.call('SISMEMBER', K.YIELDED, slot)
unset_slot(slot, {'suspect_at'})
if not has(record.job) then
  admit_due_jobs(MAX_ADMITTED)
  local bound_id, bound_attempt = fill_slot(slot)
  return {'ok', bound_id or '', tonumber(bound_attempt or 0), -1, yields}
end
index_slot(slot)
local job = redis.call('HMGET', K.JOB .. record.job, 'finished_at', 'started_at', 'max_run_ms')
local finished_at, started_at, max_run_ms = unpack(job)
local overdue_ms = -1
if has(finished_at) then
  overdue_ms = now_ms() - finished_at
elseif has(started_at) and has(max_run_ms) then
  overdue_ms = math.max(-1, now_ms() - started_at - max_run_ms)
end
return {'ok', record.job, tonumber(record.attempt), overdue_ms, yields}
