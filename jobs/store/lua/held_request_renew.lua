-- The holder of a request has checked that its connection stands: renew its claim, as the answer to all questions up to
-- number `answered`. Returns the number of the newest question, or -1 when another process holds the request.
-- include: common, memory
local key, id, holder, claim_ms, answered = unpack(ARGV)
go_on_without_memory()

local name = K.HELD_REQUEST .. key .. ':' .. id
local current_holder, asked = unpack(redis.call('HMGET', name, 'holder', 'asked'))
if current_holder ~= holder then return -1 end
redis.call('HSET', name, 'until', int(now_ms() + claim_ms), 'answered', answered)
return tonumber(asked)
