-- A picture of what a running attempt has so far. It goes with the run, or after a time without a newer one.
-- ARGV: id, attempt, step, media type, picture (base64). Returns 1, or 0 when the attempt is over.
local id = ARGV[1]
if not owns(id, ARGV[2], 'running') then return 0 end
redis.call('HSET', K.PREVIEW .. id, 'attempt', ARGV[2], 'step', ARGV[3], 'media_type', ARGV[4], 'content', ARGV[5])
redis.call('PEXPIRE', K.PREVIEW .. id, CFG.preview_ttl_ms)
redis.call('HSET', K.JOB .. id, 'preview_step', ARGV[3])
emit(id, ARGV[3])
return 1
