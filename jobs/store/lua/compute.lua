-- The run is done: running → delivering with frames in the spool, or → succeeded when there is nothing to deliver.
-- The slot is free in any case. ARGV: id, attempt, slot, node ('' nothing to deliver), run_s (measured, without loading),
-- blocked ('' or why the slot gets no new job), report of a command (JSON; '' for none), and of a worker that stored its
-- outputs itself: outputs (JSON list), further results (JSON object).
-- Returns {1|0, bindings}. A repeat whose first answer was lost on the way is told the same.
local id, attempt, slot = ARGV[1], ARGV[2], ARGV[3]
if ARGV[4] ~= '' and redis.call('HGET', K.SLOT .. slot, 'job') == id then redis.call('HSET', K.SLOT .. slot, 'blocked', ARGV[6]) end
local function discard_outputs()
  for _, output in ipairs(cjson.decode(has(ARGV[8]) and ARGV[8] or '[]')) do discard(output.key, now_ms()) end
end
if has(ARGV[8]) and owns(id, attempt, 'succeeded') then
  if job_get(id, 'outputs') ~= ARGV[8] then discard_outputs() end
  return {job_get(id, 'outputs') == ARGV[8] and 1 or 0, {}}
end
if owns(id, attempt, 'delivering') or (ARGV[4] == '' and owns(id, attempt, 'succeeded')) then
  return {1, release(slot, id, attempt)}
end
local owned = owns(id, attempt, 'running')
if owned then
  local now = now_ms()
  local record = redis.call('HMGET', K.JOB .. id, 'model', 'work', 'steps', 'created_at', 'promised_s', 'command')
  redis.call('HSET', K.JOB .. id, 'computed_at', int(now), 'run_s', ARGV[5], 'step', record[3] or 0, 'eta_s', '')
  settle(id, tonumber(ARGV[5]))
  redis.call('HDEL', K.JOB .. id, 'stage_percent')
  if has(ARGV[7]) then redis.call('HSET', K.JOB .. id, 'report', ARGV[7]) end
  -- Moving average: the newest job counts for three tenths.
  local rate = ARGV[5] / math.max(record[2], 1e-9)
  local device = redis.call('HGET', K.SLOT .. slot, 'device_name')
  local measured = has(record[6]) and {} or {record[1], has(device) and record[1] .. '|' .. device or nil}
  for _, name in ipairs(measured) do
    local known = redis.call('HGET', K.RATES, name)
    redis.call('HSET', K.RATES, name, tostring(known and (0.7 * known + 0.3 * rate) or rate))
  end
  if has(record[5]) and not has(record[6]) then
    redis.call('HINCRBY', K.COUNTERS, 'eta_jobs', 1)
    redis.call('HINCRBYFLOAT', K.COUNTERS, 'eta_error_s', math.abs((now - record[4]) / 1000 - record[5]))
    redis.call('HINCRBYFLOAT', K.COUNTERS, 'eta_actual_s', (now - record[4]) / 1000)
    redis.call('HDEL', K.JOB .. id, 'promised_s')
  end
  if ARGV[4] == '' then
    if has(ARGV[8]) then redis.call('HSET', K.JOB .. id, 'outputs', ARGV[8], 'result', ARGV[9]) end
    finish(id, 'succeeded')
  else
    redis.call('HSET', K.JOB .. id, 'node', ARGV[4], 'stage', 'delivering')
    redis.call('ZADD', K.DELIVERING, int(now + CFG.resend_after_ms), id)
    set_state(id, 'delivering')
    emit(id)
  end
end
if not owned then discard_outputs() end
return {owned and 1 or 0, release(slot, id, attempt)}
