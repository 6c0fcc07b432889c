-- Write facts of a slot; neither its lease nor its job changes. Returns 1, or 0 when `owner` does not hold the slot.
-- include: memory
local slot, owner = unpack(ARGV)
local facts = {unpack(ARGV, 3)}
go_on_without_memory()

if redis.call('HGET', K.SLOT .. slot, 'owner') ~= owner then return 0 end
redis.call('HSET', K.SLOT .. slot, unpack(facts))
return 1
