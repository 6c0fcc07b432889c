-- ARGV: slot, owner, then field, value … of facts to show.
-- Returns {'ok', current job or '', its attempt, ms it is overdue (ended from outside, or past its run limit) or -1,
--   bindings} | {'gone'}
local slot = ARGV[1]
if redis.call('HGET', K.SLOT .. slot, 'owner') ~= ARGV[2] then return {'gone'} end
local now = now_ms()
if #ARGV > 2 then redis.call('HSET', K.SLOT .. slot, unpack(ARGV, 3)) end
renew(slot)
redis.call('HDEL', K.SLOT .. slot, 'suspect_at')
local facts = redis.call('HMGET', K.SLOT .. slot, 'job', 'attempt')
if not has(facts[1]) then return {'ok', '', 0, -1, list_of(feed(slot))} end
local record = redis.call('HMGET', K.JOB .. facts[1], 'finished_at', 'started_at', 'max_run_ms')
local overdue = -1
if has(record[1]) then
  overdue = now - record[1]
elseif has(record[2]) and has(record[3]) then
  overdue = math.max(-1, now - record[2] - record[3])
end
return {'ok', facts[1], tonumber(facts[2]), overdue, {}}
