-- Changing a job's state.
-- include: common, subscriber_queue, webhooks

-- Write the new state, move the job between the indexes by state, and queue the messages about the change.
local function set_state(id, new)
  local record = redis.call('HMGET', K.JOB .. id, 'state', 'created_at', 'key', 'webhook', 'mailbox')
  local old, created_at, key, webhook, mailbox = unpack(record)
  if has(old) then
    redis.call('ZREM', K.STATE .. old, id)
    redis.call('ZREM', K.STATE .. old .. ':' .. key, id)
  end
  redis.call('ZADD', K.STATE .. new, created_at, id)
  if key ~= K.NOBODY then redis.call('ZADD', K.STATE .. new .. ':' .. key, created_at, id) end
  redis.call('HSET', K.JOB .. id, 'state', new)
  if has(webhook) then add_webhook_delivery(id, key, webhook, new) end
  if has(mailbox) then add_notice(id, key, mailbox, new) end
end
