-- Write the outcome of a try. `delivery`: JSON. `wait_ms`: until the next try, or '' when there is none. `gone`: '1'
-- when the receiver answered that it wants no more messages.
-- Returns 1, or 0 when another sender has taken the delivery, or a newer message of this event replaced it.
-- include: common, memory, webhooks
local id, event, sender, delivery, wait_ms, gone = unpack(ARGV)
go_on_without_memory()

local hook = K.WEBHOOK_DELIVERIES .. id
if redis.call('HGET', hook, 'sender') ~= sender then return 0 end
local key, webhook = unpack(redis.call('HMGET', K.JOB .. id, 'key', 'webhook'))
local receiver, newest = receiver_of(key, webhook), cjson.decode(redis.call('HGET', hook, event))
local is_newest = newest.message_id == cjson.decode(delivery).message_id
if is_newest then redis.call('HSET', hook, event, delivery) end
redis.call('HDEL', hook, 'sender', 'until')
if is_newest and wait_ms == '' then
  redis.call('ZREM', K.RECEIVER_DELIVERIES .. receiver, id .. ' ' .. event)
else
  local next_at = is_newest and now_ms() + wait_ms or newest.next_at
  redis.call('ZADD', K.RECEIVER_DELIVERIES .. receiver, int(next_at), id .. ' ' .. event)
end
index_receiver(receiver)
if gone == '1' then
  redis.call('HSET', hook, 'gone', 1)
  local of_key = redis.call('HGET', K.WEBHOOKS, key)
  local config = of_key and cjson.decode(of_key)
  if config and config.url == cjson.decode(webhook).url then
    config.gone_at = now_ms()
    redis.call('HSET', K.WEBHOOKS, key, cjson.encode(config))
  end
end
return is_newest and 1 or 0
