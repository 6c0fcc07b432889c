-- Take up to `limit` objects that are to be removed now. An object that the caller does not forget (forget_file) is
-- taken again after `retry_ms`. Returns the names.
-- include: common, files, memory, records
local limit, retry_ms = unpack(ARGV)
go_on_without_memory()

local now, taken = now_ms(), {}

-- The time from which an object may be removed; false while something needs it.
local function removable_at(name)
  if is_input(name) then return not is_used(name) and now end
  local id = job_of_outputs(name)
  local record = id and redis.call('HMGET', K.JOB .. id, 'state', 'outputs', 'expires_at') or {}
  local state, outputs, expires_at = unpack(record)
  if state and not is_over(state) then return false end  -- indexed again when the job ends
  if has(outputs) then return has(expires_at) and tonumber(expires_at) end
  return now
end

local function take(name)
  if is_kept(name) then redis.call('HDEL', K.INPUTS, digest_of(name)) end
  local id = job_of_outputs(name)
  if id and has(job_of(id).outputs) then
    unset_job(id, {'outputs'})
    set_job(id, {removed_at = int(now)})
    redis.call('ZADD', K.EXPIRING, int(now + CFG.result_ttl_ms), id)
    free_inputs(id)  -- inputs are kept for a retry, and a job that succeeded is not retried
  end
  redis.call('ZADD', K.DUE, int(now + retry_ms), name)
  table.insert(taken, name)
end

for _, name in ipairs(redis.call('ZRANGEBYSCORE', K.DUE, '-inf', int(now), 'LIMIT', 0, limit)) do
  local at = removable_at(name)
  if not at then
    redis.call('ZREM', K.DUE, name)
  elseif at > now then
    redis.call('ZADD', K.DUE, int(at), name)
  else
    take(name)
  end
end
return taken
