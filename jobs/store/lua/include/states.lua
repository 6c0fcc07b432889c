-- Changing a job's state.
-- include: common, records, subscriber_queue, webhooks

-- Change the state, move the job between the indexes by state, and queue the messages about the change.
local function set_state(id, new)
  local record = job_of(id)
  local old, created_at, key = record.state, record.created_at, record.key
  local is_of_key = key ~= K.NOBODY
  if has(old) then
    redis.call('ZREM', K.STATE .. old, id)
    if is_of_key then redis.call('ZREM', K.STATE .. old .. ':' .. key, id) end
  end
  redis.call('ZADD', K.STATE .. new, created_at, id)
  if is_of_key then redis.call('ZADD', K.STATE .. new .. ':' .. key, created_at, id) end
  set_job(id, {state = new})
  if has(record.webhook) then add_webhook_delivery(id, key, record.webhook, new) end
  if has(record.mailbox) then add_notice(id, key, record.mailbox, new) end
end
