-- Send the messages that were written for a job again, now. `event`: which one, or '' for all. Returns the events.
-- include: common, webhooks
local id, event = unpack(ARGV)

local hook, now, resent = K.WEBHOOK_DELIVERIES .. id, now_ms(), {}
local key, webhook = unpack(redis.call('HMGET', K.JOB .. id, 'key', 'webhook'))
if not has(webhook) then return resent end
local receiver = receiver_of(key, webhook)
for _, field in ipairs(redis.call('HKEYS', hook)) do
  local is_event = field:sub(1, #EVENT.PREFIX) == EVENT.PREFIX
  if is_event and (event == '' or event == field) then
    local delivery = cjson.decode(redis.call('HGET', hook, field))
    delivery.state, delivery.next_at, delivery.round = DELIVERY.PENDING, now, 0
    redis.call('HSET', hook, field, cjson.encode(delivery))
    redis.call('ZADD', K.RECEIVER_DELIVERIES .. receiver, int(now), id .. ' ' .. field)
    table.insert(resent, field)
  end
end
redis.call('HDEL', hook, 'gone', 'sender', 'until')
index_receiver(receiver)
return resent
