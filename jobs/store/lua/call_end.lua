-- The holder of a call lets go of it. ARGV: key, id, holder, and 'leave' (its connection is gone), 'deliver' (the answer
-- was sent) or 'drop' (nothing was begun). Returns 1, or 0 if another holds it.
local key, id, how = ARGV[1], ARGV[2], ARGV[4]
local name = K.CALL .. key .. ':' .. id
local values = redis.call('HMGET', name, 'holder', 'digest', 'forced')
if not values[1] or (values[3] ~= '1' and values[1] ~= ARGV[3]) then return 0 end
if how == 'leave' then
  redis.call('HSET', name, 'until', 0)
  return 1
end
redis.call('ZREM', K.CALLS .. key, id)
if values[3] == '1' and how == 'deliver' then  -- the client's id is given the same again
  redis.call('HSET', name, 'until', 0)
  return 1
end
redis.call('SREM', K.REPEATS .. key .. ':' .. values[2], id)
redis.call('DEL', name)
return 1
