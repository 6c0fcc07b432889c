-- A delivery did not succeed: give its lease back and try again after `wait_ms`.
-- `away`: '1' when the object store does not answer. `why`: what the delivery waits for, for people.
-- Returns how many deliveries of this attempt failed for another reason.
-- include: common, delivery_problems, memory, records
local id, attempt, owner, wait_ms, away, why = unpack(ARGV)
go_on_without_memory()

local record = job_of(id)
local node, failures = record.node, tonumber(record.failures or 0)
if not is_current(id, attempt, STATE.DELIVERING) or record.delivery_owner ~= owner then return failures end
local retry_at = int(now_ms() + wait_ms)
unset_job(id, {'delivery_owner', 'next_look_at'})
redis.call('ZADD', K.DELIVERING, retry_at, id)
note_problem(id, why)
if away == '1' then
  redis.call('HSET', K.AWAY, node, retry_at)
  redis.call('HSET', K.AWAY_WHY, node, why)
  return failures
end
object_store_is_back(node)
set_job(id, {failures = int(failures + 1)})
return failures + 1
