-- Take due deliveries of a receiver for so long that the sender must have ended by then.
-- ARGV: receiver, number, lease_ms, token of the sender. Returns {{id, event, delivery (JSON)} …}
local receiver, now = ARGV[1], now_ms()
local claimed = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', K.HOOKS .. receiver, '-inf', int(now), 'LIMIT', 0, 100)) do
  if #claimed >= tonumber(ARGV[2]) then break end
  local id, event = member:match('^(%S+) (%S+)$')
  local hook = redis.call('HMGET', K.HOOK .. id, event, 'until')
  if not hook[1] or redis.call('EXISTS', K.JOB .. id) == 0 then
    redis.call('ZREM', K.HOOKS .. receiver, member)
    redis.call('DEL', K.HOOK .. id)
  elseif has(hook[2]) and tonumber(hook[2]) > now then
    -- Another event of this job is on its way: one after the other, so that they arrive in their order.
    redis.call('ZADD', K.HOOKS .. receiver, int(math.min(hook[2], now + 200)), member)
  else
    redis.call('HSET', K.HOOK .. id, 'until', int(now + ARGV[3]), 'sender', ARGV[4])
    redis.call('ZADD', K.HOOKS .. receiver, int(now + ARGV[3]), member)
    table.insert(claimed, {id, event, hook[1]})
  end
end
index_receiver(receiver)
return claimed
