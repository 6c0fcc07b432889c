-- Webhook deliveries. A script that changes a job also writes the message about it, so no crash can lose a message.
-- A receiver is '<key>|<host>:<port>'. Its deliveries are '<job id> <event>', by the time of the next try.
-- include: common, records

-- Index a receiver by the time at which its first delivery is due.
local function index_receiver(receiver)
  local first = redis.call('ZRANGE', K.RECEIVER_DELIVERIES .. receiver, 0, 0, 'WITHSCORES')
  if first[1] then
    redis.call('ZADD', K.RECEIVERS, first[2], receiver)
  else
    redis.call('ZREM', K.RECEIVERS, receiver)
  end
end

local function receiver_of(key, webhook)
  return key .. '|' .. cjson.decode(webhook).to
end

-- Write the message about a job's new state if its webhook (JSON) subscribes to that event.
local function add_webhook_delivery(id, key, webhook, state)
  local event = state == STATE.RUNNING and EVENT.STARTED or EVENT.PREFIX .. state
  local subscribed = set_of(cjson.decode(webhook).events)[event]
  if not subscribed or redis.call('HEXISTS', K.WEBHOOK_DELIVERIES .. id, 'gone') == 1 then return end
  local now, is_pause = now_ms(), event == EVENT.PAUSED
  local message_id = 'msg_' .. id .. '_' .. job_of(id).created_at .. '_' .. event:sub(#EVENT.PREFIX + 1)
  if is_pause then message_id = message_id .. '_' .. int(now) end
  local delivery = cjson.encode({message_id = message_id, written_at = now, next_at = now, state = DELIVERY.PENDING})
  -- A later run is not announced again, but a later pause is.
  local command = is_pause and 'HSET' or 'HSETNX'
  if redis.call(command, K.WEBHOOK_DELIVERIES .. id, event, delivery) == 0 and not is_pause then return end
  local receiver = receiver_of(key, webhook)
  redis.call('ZADD', K.RECEIVER_DELIVERIES .. receiver, int(now), id .. ' ' .. event)
  index_receiver(receiver)
end

-- Remove all deliveries of a job whose record is being deleted.
local function delete_webhook_deliveries(id, key, webhook)
  local receiver = receiver_of(key, webhook)
  for _, field in ipairs(redis.call('HKEYS', K.WEBHOOK_DELIVERIES .. id)) do
    redis.call('ZREM', K.RECEIVER_DELIVERIES .. receiver, id .. ' ' .. field)
  end
  redis.call('DEL', K.WEBHOOK_DELIVERIES .. id)
  index_receiver(receiver)
end
