-- The holders of requests have checked that their connections stand: renew their claims.
-- `claims`: of each the key and the id of its request, its holder, and the number of the question up to which this is
-- the answer. Returns for each the number of the newest question, or -1 when another process holds the request.
-- include: common, memory
local claim_ms = unpack(ARGV)
local claims = {unpack(ARGV, 2)}
go_on_without_memory()

local newest, lapses_at = {}, int(now_ms() + claim_ms)
for i = 1, #claims, 4 do
  local key, id, holder, answered = unpack(claims, i, i + 3)
  local name = K.HELD_REQUEST .. key .. ':' .. id
  local current_holder, asked = unpack(redis.call('HMGET', name, 'holder', 'asked'))
  if current_holder == holder then
    redis.call('HSET', name, 'until', lapses_at, 'answered', answered)
    table.insert(newest, tonumber(asked))
  else
    table.insert(newest, -1)
  end
end
return newest
