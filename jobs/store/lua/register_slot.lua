-- A worker takes a slot. `takeover`: '1' when the old owner is known to be dead. `facts`: of the slot.
-- Returns {'ok'} | {'held', owner, ms until its lease lapses}
-- include: binding, common, memory, recovery
local slot, owner, takeover = unpack(ARGV)
local facts = {unpack(ARGV, 4)}
go_on_without_memory()

local old_owner, job, attempt = unpack(redis.call('HMGET', K.SLOT .. slot, 'owner', 'job', 'attempt'))
local now = now_ms()
if has(old_owner) and old_owner ~= owner and takeover ~= '1' then
  local left_ms = tonumber(redis.call('ZSCORE', K.LEASES, slot) or 0) - now
  if left_ms > 0 then return {'held', old_owner, left_ms} end
end
redis.call('DEL', K.SLOT .. slot)
redis.call('HSET', K.SLOT .. slot, 'owner', owner, 'since', int(now), unpack(facts))
redis.call('SADD', K.SLOTS, slot)
redis.call('ZADD', K.LEASES, int(now + CFG.lease_ms), slot)
if has(job) then lose(job, attempt) end
fill_slot(slot)
fill_idle_slots()
return {'ok'}
