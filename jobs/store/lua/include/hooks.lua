-- Webhooks: what is to be sent, written together with the change it tells of. Shared by all scripts, after lib.lua.
-- A receiver is '<key>|<host>:<port>'; its deliveries are '<job> <event>' by the time of the next try.

-- Note when the receiver's first delivery is due.
local function index_receiver(receiver)
  local first = redis.call('ZRANGE', K.HOOKS .. receiver, 0, 0, 'WITHSCORES')
  if first[1] then
    redis.call('ZADD', K.RECEIVERS, first[2], receiver)
  else
    redis.call('ZREM', K.RECEIVERS, receiver)
  end
end

local function receiver_of(key, webhook)
  return key .. '|' .. cjson.decode(webhook).to
end

note_hook = function(id, key, webhook, state)
  local event = 'job.' .. (state == 'running' and 'started' or state)
  local wanted = false
  for _, name in ipairs(cjson.decode(webhook).events) do wanted = wanted or name == event end
  if not wanted or redis.call('HEXISTS', K.HOOK .. id, 'gone') == 1 then return end
  local now = now_ms()
  local message_id = 'msg_' .. id .. '_' .. job_get(id, 'created_at') .. '_' .. event:sub(5)
  local delivery = cjson.encode({message_id = message_id, written_at = now, next_at = now, state = 'pending'})
  if redis.call('HSETNX', K.HOOK .. id, event, delivery) == 0 then return end  -- a job that starts again
  local receiver = receiver_of(key, webhook)
  redis.call('ZADD', K.HOOKS .. receiver, int(now), id .. ' ' .. event)
  index_receiver(receiver)
end

-- The record goes, and with it what was not sent.
local function forget_hooks(id, key, webhook)
  local receiver = receiver_of(key, webhook)
  for _, field in ipairs(redis.call('HKEYS', K.HOOK .. id)) do
    redis.call('ZREM', K.HOOKS .. receiver, id .. ' ' .. field)
  end
  redis.call('DEL', K.HOOK .. id)
  index_receiver(receiver)
end
