-- A try is over. ARGV: id, event, token of the sender, delivery (JSON), ms to the next try ('' none), 1 when the receiver is gone.
-- Returns 1, or 0 when another sender has the delivery.
local id, event, hook = ARGV[1], ARGV[2], K.HOOK .. ARGV[1]
if redis.call('HGET', hook, 'sender') ~= ARGV[3] then return 0 end
local record = redis.call('HMGET', K.JOB .. id, 'key', 'webhook')
local receiver = receiver_of(record[1], record[2])
redis.call('HSET', hook, event, ARGV[4])
redis.call('HDEL', hook, 'sender', 'until')
if ARGV[5] == '' then
  redis.call('ZREM', K.HOOKS .. receiver, id .. ' ' .. event)
else
  redis.call('ZADD', K.HOOKS .. receiver, int(now_ms() + ARGV[5]), id .. ' ' .. event)
end
index_receiver(receiver)
if ARGV[6] == '1' then
  redis.call('HSET', hook, 'gone', 1)
  local own = redis.call('HGET', K.WEBHOOKS, record[1])
  local config = own and cjson.decode(own)
  if config and config.url == cjson.decode(record[2]).url then
    config.gone_at = now_ms()
    redis.call('HSET', K.WEBHOOKS, record[1], cjson.encode(config))
  end
end
return 1
