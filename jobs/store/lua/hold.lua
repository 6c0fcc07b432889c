-- Somebody is about to store an input image and to submit a job with it: it may not be removed for a while.
-- ARGV: SHA-256, a token that was never used, ending. Returns the object's name.
local name = redis.call('HGET', K.INPUTS, ARGV[1])
if not name then
  name = K.INPUT_OBJECTS .. ARGV[1] .. '.' .. ARGV[2] .. '.' .. ARGV[3]
  redis.call('HSET', K.INPUTS, ARGV[1], name)
end
redis.call('ZADD', K.DUE, 'GT', int(now_ms() + CFG.files_grace_ms), name)
return name
