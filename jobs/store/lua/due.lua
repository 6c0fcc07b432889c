-- Take what may be removed now. ARGV: how many, ms after which one that was not forgotten is taken again. Returns names.
local now, taken = now_ms(), {}

-- When it may be removed: now, later, or (false) not for what is known.
local function when(name)
  if name:sub(1, #K.INPUT_OBJECTS) == K.INPUT_OBJECTS then
    return redis.call('HEXISTS', K.INPUT_USES, name) == 0 and now
  end
  local id = name:match('^' .. K.OUTPUT_OBJECTS .. '([^/]+)/$')
  local record = id and redis.call('HMGET', K.JOB .. id, 'state', 'outputs', 'expires_at') or {}
  if record[1] and not is_over(record[1]) then return false end  -- its end decides
  if has(record[2]) then return has(record[3]) and tonumber(record[3]) end
  return now
end

for _, name in ipairs(redis.call('ZRANGEBYSCORE', K.DUE, '-inf', int(now), 'LIMIT', 0, ARGV[1])) do
  local at = when(name)
  if not at then
    redis.call('ZREM', K.DUE, name)
  elseif at > now then
    redis.call('ZADD', K.DUE, int(at), name)
  else
    if is_kept(name) then redis.call('HDEL', K.INPUTS, digest_of(name)) end
    local id = name:match('^' .. K.OUTPUT_OBJECTS .. '([^/]+)/$')
    if id and has(job_get(id, 'outputs')) then
      redis.call('HDEL', K.JOB .. id, 'outputs')
      redis.call('HSET', K.JOB .. id, 'removed_at', int(now))
      redis.call('ZADD', K.EXPIRING, int(now + CFG.result_ttl_ms), id)
      free_inputs(id)  -- one that succeeded is not sent again
    end
    redis.call('ZADD', K.DUE, int(now + ARGV[2]), name)
    table.insert(taken, name)
  end
end
return taken
