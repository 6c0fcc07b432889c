-- A job of a call is about to be stopped. ARGV: key, id, job, what there is of its picture. An equal body is new work.
local name = K.CALL .. ARGV[1] .. ':' .. ARGV[2]
local digest = redis.call('HGET', name, 'digest')
if not digest then return 0 end
redis.call('HSET', name, 'stopped:' .. ARGV[3], ARGV[4])
redis.call('SREM', K.REPEATS .. ARGV[1] .. ':' .. digest, ARGV[2])
return 1
