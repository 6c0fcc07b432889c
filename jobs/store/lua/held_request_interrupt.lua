-- A job of a request is about to be stopped: keep the picture it has so far. An equal body that comes from now on is a
-- new request; one that waits for the holder already takes this one over if the holder is gone.
-- include: memory
local key, id, job, picture = unpack(ARGV)
go_on_without_memory()

local name = K.HELD_REQUEST .. key .. ':' .. id
local digest = redis.call('HGET', name, 'digest')
if not digest then return 0 end
redis.call('HSET', name, 'stopped:' .. job, picture, 'interrupted', '1')
redis.call('SREM', K.REPEATABLE_REQUESTS .. key .. ':' .. digest, id)
return 1
