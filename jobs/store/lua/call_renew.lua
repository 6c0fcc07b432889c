-- The holder of a call has looked at its connection: it stands. ARGV: key, id, holder, length of the claim in ms, the
-- newest question it had heard of when it looked. Returns the newest question now, -1 if it holds the call no more.
local name = K.CALL .. ARGV[1] .. ':' .. ARGV[2]
local values = redis.call('HMGET', name, 'holder', 'asked')
if values[1] ~= ARGV[3] then return -1 end
redis.call('HSET', name, 'until', int(now_ms() + ARGV[4]), 'answered', ARGV[5])
return tonumber(values[2])
