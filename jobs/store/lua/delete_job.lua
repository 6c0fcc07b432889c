-- Delete a job that is over, with its files.
-- Returns 'deleted' | 'held' (will be, when its worker has stopped) | 'live' (not over) | 'gone' (deleted before)
--   | 'unknown'
-- include: common, memory, records, retention
local id = unpack(ARGV)
go_on_without_memory()

local state = job_of(id).state
if not state then return redis.call('EXISTS', K.DELETED .. id) == 1 and 'gone' or 'unknown' end
if not is_over(state) then return 'live' end
set_job(id, {deleted = '1'})
if not holds_slot(id) then
  delete_record(id)
  return 'deleted'
end
redis.call('ZADD', K.EXPIRING, int(now_ms()), id)
return 'held'
