-- Set how many slots a key may hold at once; 0: no limit. The next sweep lets idle slots take jobs that may run now.
-- include: binding, memory, queue
local key, limit = unpack(ARGV)
go_on_without_memory()

if limit == '0' then
  redis.call('HDEL', K.LIMITS, key)
else
  redis.call('HSET', K.LIMITS, key, limit)
end
index_key(key)
if redis.call('EXISTS', K.KEY_LANES .. key) == 1 then refill_idle_slots() end
return 1
