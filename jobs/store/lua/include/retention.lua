-- How long the records and files of ended jobs are kept.
-- include: common, files, records, webhooks

-- A job has ended in `state`: schedule the end of its files, or of its record when it has no files.
local function schedule_removal(id, state, now)
  local outputs, retention, stored = unpack(redis.call('HMGET', K.JOB .. id, 'outputs', 'retention', 'stored'))
  redis.call('HDEL', K.JOB .. id, 'stored')
  if state == STATE.SUCCEEDED and has(outputs) then
    local kept_ms = RETENTION_MS[retention]
    if not kept_ms then return end  -- kept until somebody deletes the job
    redis.call('HSET', K.JOB .. id, 'expires_at', int(now + kept_ms))
    remove_outputs_at(id, now + kept_ms)
    return
  end
  -- `stored`: a delivery has begun, and may have stored files before the job ended.
  if has(stored) then remove_outputs_at(id, now + CFG.files_grace_ms) end
  redis.call('ZADD', K.EXPIRING, int(now + CFG.result_ttl_ms), id)
end

-- Whether the job's worker has not stopped yet. Its record is needed until then.
local function holds_slot(id)
  local slot = job_get(id, 'slot')
  return has(slot) and redis.call('HGET', K.SLOT .. slot, 'job') == id
end

-- Delete the record of a job that is over and let its files be removed. The id of a job that a caller deleted stays
-- taken for a while.
local function delete_record(id)
  local record = redis.call('HMGET', K.JOB .. id, 'state', 'key', 'outputs', 'deleted', 'webhook', 'path')
  local state, key, outputs, deleted, webhook, path = unpack(record)
  if state then
    for _, index in ipairs({K.STATE .. state, K.JOBS}) do
      redis.call('ZREM', index, id)
      redis.call('ZREM', index .. ':' .. key, id)
    end
    free_inputs(id)
    if has(outputs) then remove_outputs_at(id, now_ms()) end
    if has(deleted) then redis.call('SET', K.DELETED .. id, key, 'PX', int(CFG.result_ttl_ms)) end
    if has(webhook) then delete_webhook_deliveries(id, key, webhook) end
    local file = has(path) and K.FILE .. key .. ':' .. path
    if file and redis.call('GET', file) == id then redis.call('DEL', file) end
    redis.call('DEL', K.JOB .. id)
  end
  redis.call('ZREM', K.DEAD, id)
  redis.call('ZREM', K.EXPIRING, id)
end
