-- A worker renews the lease of its slot. `facts`: of the slot.
-- Returns {'ok', current job or '', its attempt, ms since it was ended from outside or exceeded its run limit, or -1,
--   1 if it gives up the memory of its device}
--   | {'gone'}
-- include: binding, common, companions, memory, offers, records, slots
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

local function overdue_ms_of(id)
  local finished_at, started_at, max_run_ms =
    unpack(redis.call('HMGET', K.JOB .. id, 'finished_at', 'started_at', 'max_run_ms'))
  if has(finished_at) then return now_ms() - finished_at end
  return has(started_at) and has(max_run_ms) and math.max(-1, now_ms() - started_at - max_run_ms) or -1
end

-- A run that jobs share goes on for those of them that are not over.
local overdue_ms = overdue_ms_of(record.job)
for _, companion in ipairs(companions_of(slot)) do overdue_ms = math.min(overdue_ms, overdue_ms_of(companion[1])) end
return {'ok', record.job, tonumber(record.attempt), overdue_ms, yields}
