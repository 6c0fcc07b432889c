-- A worker is about to stop: its slot takes no new job. Returns the job that still runs, or ''.
-- include: memory
local slot, owner = unpack(ARGV)
go_on_without_memory()

local slot_owner, job = unpack(redis.call('HMGET', K.SLOT .. slot, 'owner', 'job'))
if slot_owner ~= owner then return '' end
redis.call('SREM', K.IDLE, slot)
redis.call('HSET', K.SLOT .. slot, 'draining', '1')
return job or ''
