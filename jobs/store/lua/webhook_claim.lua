-- Take up to `limit` due deliveries of a receiver for `lease_ms`. `sender`: a token of the process that will send them.
-- Returns {{id, event, delivery (JSON)}, …}
-- include: common, memory, webhooks
local receiver, limit, lease_ms, sender = unpack(ARGV)
go_on_without_memory()

local RETRY_MS = 200
local now, claimed = now_ms(), {}
local name = K.RECEIVER_DELIVERIES .. receiver
for _, member in ipairs(redis.call('ZRANGEBYSCORE', name, '-inf', int(now), 'LIMIT', 0, 100)) do
  if #claimed >= tonumber(limit) then break end
  local id, event = member:match('^(%S+) (%S+)$')
  local delivery, leased_until = unpack(redis.call('HMGET', K.WEBHOOK_DELIVERIES .. id, event, 'until'))
  if not delivery or redis.call('EXISTS', K.JOB .. id) == 0 then
    redis.call('ZREM', name, member)
    redis.call('DEL', K.WEBHOOK_DELIVERIES .. id)
  elseif has(leased_until) and tonumber(leased_until) > now then
    -- Another event of this job is being sent. One is sent after the other, so that they arrive in order.
    redis.call('ZADD', name, int(math.min(leased_until, now + RETRY_MS)), member)
  else
    redis.call('HSET', K.WEBHOOK_DELIVERIES .. id, 'until', int(now + lease_ms), 'sender', sender)
    redis.call('ZADD', name, int(now + lease_ms), member)
    table.insert(claimed, {id, event, delivery})
  end
end
index_receiver(receiver)
return claimed
