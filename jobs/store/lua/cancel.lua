-- ARGV: id. Returns {'changed'|'over'|'unknown', slot of the attempt that still runs or '', bindings}
local id = ARGV[1]
local record = redis.call('HMGET', K.JOB .. id, 'state', 'slot', 'attempt')
local state = record[1]
if not state then return {'unknown', '', {}} end
if state ~= 'queued' and state ~= 'running' and state ~= 'delivering' then return {'over', '', {}} end
finish(id, 'cancelled')
if state == 'queued' and has(record[2]) then
  -- Sent, not started: start.lua will refuse it, so the slot is free already.
  return {'changed', '', release(record[2], id, record[3])}
end
return {'changed', state == 'running' and record[2] or '', {}}
