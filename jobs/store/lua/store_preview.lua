-- Store the newest preview of a running attempt. It is deleted when the run ends, or after a time without a newer one.
-- `content`: the picture as base64.
-- Returns 1, or 0 when the attempt is over.
-- include: events, records
local id, attempt, step, media_type, content = unpack(ARGV)

if not is_current(id, attempt, STATE.RUNNING) then return 0 end
redis.call('HSET', K.PREVIEW .. id, 'attempt', attempt, 'step', step, 'media_type', media_type, 'content', content)
redis.call('PEXPIRE', K.PREVIEW .. id, CFG.preview_ttl_ms)
set_job(id, {preview_step = step})
emit(id, step)
return 1
