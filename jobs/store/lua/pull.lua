-- A worker over HTTP asks for a job: its first slot that has none, and for which no call waits, takes part in the queue.
-- ARGV: the worker's name (its first slot has the same, further ones end in ~1, ~2 …), owner, most slots, how many jobs
-- it would take at once, then field, value … of facts (models, away_lease_ms …).
-- Returns {slot, job or '', attempt}; {'', '', 0} when all its slots are taken.
local base, owner = ARGV[1], ARGV[2]
local batch = math.max(tonumber(ARGV[4]), tonumber(redis.call('HGET', K.SLOT .. base, 'batch') or 1))
if redis.call('EXISTS', K.SLOT .. base) == 1 then redis.call('HSET', K.SLOT .. base, 'batch', batch) end
for i = 0, ARGV[3] - 1 do
  local slot = i == 0 and base or base .. '~' .. i
  local facts = redis.call('HMGET', K.SLOT .. slot, 'job', 'attempt', 'open')
  if has(facts[1]) and owns(facts[1], facts[2], 'queued') and job_get(facts[1], 'slot') == slot then
    return {slot, facts[1], tonumber(facts[2])}  -- bound for an earlier call, which has not taken it
  end
  if has(facts[1]) and batch == 1 then
    -- A worker that takes one job after the other asks for the next: it has died and come back, or the result of this
    -- one is on its way.
    redis.call('ZADD', K.LEASES, 'XX', 'LT', int(now_ms() + CFG.lease_ms), slot)
  end
  if not has(facts[1]) and not has(facts[3]) then
    redis.call('HSET', K.SLOT .. slot, 'owner', owner, 'pulls', '1', 'open', '1', 'batch', batch, unpack(ARGV, 5))
    redis.call('HSETNX', K.SLOT .. slot, 'since', int(now_ms()))
    redis.call('HDEL', K.SLOT .. slot, 'suspect_at')
    redis.call('SADD', K.SLOTS, slot)
    renew(slot)
    local binding = feed(slot)
    return {slot, binding and binding[1] or '', binding and tonumber(binding[2]) or 0}
  end
end
return {'', '', 0}
