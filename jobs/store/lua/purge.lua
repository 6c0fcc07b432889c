-- Delete a job that is over, with its files. ARGV: id.
-- Returns 'deleted'|'held' (its worker has not stopped yet: soon)|'live' (not over)|'gone' (deleted before)|'unknown'
local id = ARGV[1]
local state = job_get(id, 'state')
if not state then return redis.call('EXISTS', K.DELETED .. id) == 1 and 'gone' or 'unknown' end
if not is_over(state) then return 'live' end
redis.call('HSET', K.JOB .. id, 'deleted', '1')
if not is_held(id) then
  drop(id)
  return 'deleted'
end
redis.call('ZADD', K.EXPIRING, int(now_ms()), id)
return 'held'
