-- A worker takes its slot. ARGV: slot, owner, takeover ('1' when the old owner is known to be dead), then field, value …
-- Returns {'ok', bindings} | {'held', owner, ms until its lease lapses}
local slot, owner = ARGV[1], ARGV[2]
local facts = redis.call('HMGET', K.SLOT .. slot, 'owner', 'job', 'attempt')
local now = now_ms()
if has(facts[1]) and facts[1] ~= owner and ARGV[3] ~= '1' then
  local left = tonumber(redis.call('ZSCORE', K.LEASES, slot) or 0) - now
  if left > 0 then return {'held', facts[1], left} end
end
redis.call('DEL', K.SLOT .. slot)
redis.call('HSET', K.SLOT .. slot, 'owner', owner, 'since', int(now), unpack(ARGV, 4))
redis.call('SADD', K.SLOTS, slot)
redis.call('ZADD', K.LEASES, int(now + CFG.lease_ms), slot)
if has(facts[2]) then lose(facts[2], facts[3]) end
local bindings = list_of(feed(slot))
for _, binding in ipairs(feed_idle()) do table.insert(bindings, binding) end
return {'ok', bindings}
