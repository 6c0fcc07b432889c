-- A worker stops. ARGV: slot, owner, how: 'drain' takes no new job, 'off' gives the slot up and hands its job back.
-- Returns {job it still has or '', bindings}
local slot, how = ARGV[1], ARGV[3]
local facts = redis.call('HMGET', K.SLOT .. slot, 'owner', 'job', 'attempt')
if facts[1] ~= ARGV[2] then return {'', {}} end
redis.call('SREM', K.IDLE, slot)
if how == 'drain' then
  redis.call('HSET', K.SLOT .. slot, 'draining', '1')
  return {facts[2] or '', {}}
end
redis.call('DEL', K.SLOT .. slot)
redis.call('SREM', K.SLOTS, slot)
redis.call('ZREM', K.LEASES, slot)
local id = facts[2]
if has(id) and (owns(id, facts[3], 'queued') or owns(id, facts[3], 'running')) then
  -- Handed back in good order: this start is not counted.
  if job_get(id, 'state') == 'running' then redis.call('HINCRBY', K.JOB .. id, 'starts', -1) end
  requeue(id)
elseif has(id) then
  settle(id, elapsed_s(id))
end
return {id or '', feed_idle()}
