-- The holder of a request lets go of it. `how`: 'leave' (its connection is gone), 'deliver' (the answer was sent) or
-- 'drop' (nothing was started). Returns 1, or 0 when another process holds the request.
-- include: common, memory
local key, id, holder, how = unpack(ARGV)
go_on_without_memory()

local name = K.HELD_REQUEST .. key .. ':' .. id
local current_holder, digest, forced = unpack(redis.call('HMGET', name, 'holder', 'digest', 'forced'))
if not current_holder or (forced ~= '1' and current_holder ~= holder) then return 0 end
if how == 'leave' then
  redis.call('HSET', name, 'until', int(now_ms() - 1))
  return 1
end
redis.call('ZREM', K.HELD_REQUESTS .. key, id)
if forced == '1' and how == 'deliver' then  -- the client may send its id again to get the same answer
  redis.call('HSET', name, 'until', 0, 'answer_read', 1)
  return 1
end
redis.call('SREM', K.REPEATABLE_REQUESTS .. key .. ':' .. digest, id)
redis.call('DEL', name)
return 1
