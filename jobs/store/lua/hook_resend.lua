-- Send what was written for a job again, now. ARGV: id, event ('' all). Returns the events.
local id, hook, now = ARGV[1], K.HOOK .. ARGV[1], now_ms()
local record = redis.call('HMGET', K.JOB .. id, 'key', 'webhook')
local again = {}
if not has(record[2]) then return again end
local receiver = receiver_of(record[1], record[2])
for _, event in ipairs(redis.call('HKEYS', hook)) do
  if event:sub(1, 4) == 'job.' and (ARGV[2] == '' or ARGV[2] == event) then
    local delivery = cjson.decode(redis.call('HGET', hook, event))
    delivery.state, delivery.next_at, delivery.round = 'pending', now, 0
    redis.call('HSET', hook, event, cjson.encode(delivery))
    redis.call('ZADD', K.HOOKS .. receiver, int(now), id .. ' ' .. event)
    table.insert(again, event)
  end
end
redis.call('HDEL', hook, 'gone', 'sender', 'until')
index_receiver(receiver)
return again
