-- ARGV: slot, owner, then field, value … of facts to show. Changes neither lease nor job. Returns 1, or 0 when the slot is
-- not this owner's.
if redis.call('HGET', K.SLOT .. ARGV[1], 'owner') ~= ARGV[2] then return 0 end
redis.call('HSET', K.SLOT .. ARGV[1], unpack(ARGV, 3))
return 1
