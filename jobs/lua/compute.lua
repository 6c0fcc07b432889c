-- The frames are in the spool: running → delivering, and the slot is free.
-- ARGV: id, attempt, slot, node, run_s (measured, without loading). Returns {1|0, bindings}
local id, attempt, slot = ARGV[1], ARGV[2], ARGV[3]
-- A repeat whose first answer was lost on the way is told the same.
if owns(id, attempt, 'delivering') then return {1, {}} end
local owned = owns(id, attempt, 'running')
if owned then
  local now = now_ms()
  local record = redis.call('HMGET', K.JOB .. id, 'model', 'work', 'steps')
  redis.call('HSET', K.JOB .. id, 'computed_at', int(now), 'node', ARGV[4], 'run_s', ARGV[5],
    'stage', 'delivering', 'step', record[3] or 0, 'eta_s', '')
  redis.call('ZADD', K.DELIVERING, int(now + CFG.resend_after_ms), id)
  set_state(id, 'delivering')
  emit(id)
  -- Moving average: the newest job counts for three tenths.
  local rate, known = ARGV[5] / math.max(record[2], 1e-9), redis.call('HGET', K.RATES, record[1])
  redis.call('HSET', K.RATES, record[1], tostring(known and (0.7 * known + 0.3 * rate) or rate))
end
return {owned and 1 or 0, list_of(release(slot, id, attempt))}
