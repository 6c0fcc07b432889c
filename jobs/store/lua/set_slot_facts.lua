-- Write facts of a slot; neither its lease nor its job changes. Returns 1, or 0 when `owner` does not hold the slot.
local slot, owner = unpack(ARGV)
local facts = {unpack(ARGV, 3)}

if redis.call('HGET', K.SLOT .. slot, 'owner') ~= owner then return 0 end
redis.call('HSET', K.SLOT .. slot, unpack(facts))
return 1
