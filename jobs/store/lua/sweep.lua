-- Heal what died. ARGV: the least time a lapsed slot is watched before it is given up, ms.
-- Returns {bindings, deliveries to send again ({id, attempt, node}), slots given up,
--   jobs that ended by it ({id, state})}
local now = now_ms()
local bindings, redeliveries, lost = {}, {}, {}

-- After an outage of Redis every lease looks lapsed: a slot is given up only when it stays silent under watch.
for _, slot in ipairs(redis.call('ZRANGEBYSCORE', K.LEASES, '-inf', int(now))) do
  local facts = redis.call('HMGET', K.SLOT .. slot, 'suspect_at', 'job', 'attempt')
  if not has(facts[1]) then
    redis.call('HSET', K.SLOT .. slot, 'suspect_at', int(now))
    redis.call('SREM', K.IDLE, slot)
  elseif now - facts[1] >= tonumber(ARGV[1]) then
    redis.call('DEL', K.SLOT .. slot)
    redis.call('SREM', K.SLOTS, slot)
    redis.call('SREM', K.IDLE, slot)
    redis.call('ZREM', K.LEASES, slot)
    if has(facts[2]) then lose(facts[2], facts[3]) end
    table.insert(lost, slot)
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.ASSIGNED, '-inf', int(now), 'LIMIT', 0, 100)) do
  local record = redis.call('HMGET', K.JOB .. id, 'attempt', 'slot')
  redis.call('ZADD', K.ASSIGNED, int(now + CFG.resend_after_ms), id)
  if has(record[2]) and pulls(record[2]) then
    -- Nobody took it to its worker: the call that waited for it has ended.
    lose(id, record[1])
    release(record[2], id, record[1])
  else
    send(id, record[1], record[2])
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.DELIVERING, '-inf', int(now), 'LIMIT', 0, 100)) do
  local record = redis.call('HMGET', K.JOB .. id, 'attempt', 'node', 'node_gone_at', 'starts')
  redis.call('ZADD', K.DELIVERING, int(now + 2 * CFG.resend_after_ms), id)
  if tonumber(redis.call('ZSCORE', K.NODES, record[2]) or 0) * 1000 > now then
    redis.call('HDEL', K.JOB .. id, 'node_gone_at')
    table.insert(redeliveries, {id, record[1], record[2]})
  elseif not has(record[3]) then
    redis.call('HSET', K.JOB .. id, 'node_gone_at', int(now))
  elseif now - record[3] >= CFG.node_grace_ms then
    -- The host that holds the frames does not come back.
    if tonumber(record[4] or 0) >= CFG.max_attempts then
      fail(id, 'output_lost', 'the computed frames were lost before they could be stored')
    else
      requeue(id)
    end
  end
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.DEADLINES, '-inf', int(now), 'LIMIT', 0, 500)) do expire(id) end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', K.EXPIRING, '-inf', int(now), 'LIMIT', 0, 500)) do
  if is_held(id) then
    redis.call('ZADD', K.EXPIRING, int(now + CFG.lease_ms), id)  -- ended from outside; looked at again
  else
    drop(id)
  end
end

for _, binding in ipairs(feed_idle()) do table.insert(bindings, binding) end
return {bindings, redeliveries, lost, ended}
