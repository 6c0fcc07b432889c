-- ARGV: id, lane, work, max_waiting, then field, value … of the record.
-- Returns {'ok', bindings} | {'duplicate'} | {'full', waiting}
local id, lane, work = ARGV[1], ARGV[2], ARGV[3]
if redis.call('EXISTS', K.JOB .. id) == 1 then return {'duplicate'} end
local queued = redis.call('ZCARD', K.STATE .. 'queued')
if queued >= tonumber(ARGV[4]) then return {'full', queued} end

local now = int(now_ms())
local sequence = int(redis.call('HINCRBY', K.COUNTERS, 'sequence', 1))
redis.call('HSET', K.JOB .. id, 'lane', lane, 'work', work, 'sequence', sequence, 'created_at', now, 'attempt', 0,
  unpack(ARGV, 5))
redis.call('ZADD', K.JOBS, now, id)
redis.call('HINCRBY', K.COUNTERS, 'submitted', 1)
set_state(id, 'queued')
enqueue(id)
local bindings = feed_idle()
if #bindings == 0 then emit(id) end
return {'ok', bindings}
