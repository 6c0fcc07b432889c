-- How long the records and files of ended jobs are kept.
-- include: common, files, records, webhooks

-- A job has ended in `state`: schedule the end of its files, or of its record when it has no files.
local function schedule_removal(id, state, now)
  local record = job_of(id)
  local is_stored = has(record.stored)
  unset_job(id, {'stored'})
  if state == STATE.SUCCEEDED and has(record.outputs) then
    local kept_ms = RETENTION_MS[record.retention]
    if not kept_ms then return end  -- kept until somebody deletes the job
    set_job(id, {expires_at = int(now + kept_ms)})
    remove_outputs_at(id, now + kept_ms)
    return
  end
  -- `stored`: a delivery has begun, and may have stored files before the job ended.
  if is_stored then remove_outputs_at(id, now + CFG.files_grace_ms) end
  redis.call('ZADD', K.EXPIRING, int(now + CFG.result_ttl_ms), id)
end

-- Whether the job's worker has not stopped yet. Its record is needed until then.
local function holds_slot(id)
  local slot = job_of(id).slot
  return has(slot) and (has(job_of(id).leader) or field_of(K.SLOT .. slot, 'job') == id)
end

-- Delete the record of a job that is over and let its files be removed. The id of a job that a caller deleted stays
-- taken for a while.
local function delete_record(id)
  local record = job_of(id)
  if record.state then
    local indexes = {K.STATE .. record.state, K.JOBS}
    if has(record.video) then table.insert(indexes, K.VIDEOS) end
    for _, index in ipairs(indexes) do
      redis.call('ZREM', index, id)
      if record.key ~= K.NOBODY then redis.call('ZREM', index .. ':' .. record.key, id) end
    end
    free_inputs(id)
    if has(record.outputs) then remove_outputs_at(id, now_ms()) end
    if has(record.deleted) then redis.call('SET', K.DELETED .. id, record.key, 'PX', int(CFG.result_ttl_ms)) end
    if has(record.webhook) then delete_webhook_deliveries(id, record.key, record.webhook) end
    local file = has(record.path) and K.FILE .. record.key .. ':' .. record.path
    if file and redis.call('GET', file) == id then redis.call('DEL', file) end
    delete_hash(K.JOB .. id)
  end
  redis.call('ZREM', K.DEAD, id)
  redis.call('ZREM', K.EXPIRING, id)
end
