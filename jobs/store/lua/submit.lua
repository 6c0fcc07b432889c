-- ARGV: id, max_waiting, max_waiting of the key (0: none), jobs per minute of the key (0: none), idempotency key ('' none),
-- fingerprint of the request, start_by_ms (0: none), '1' to refuse unless it starts at once, the only slot it may then
-- have or '', then field, value … of the record (key, class, model, lane, work …).
-- Returns {'ok', bindings, created_at, forecast, path or ''} | {'duplicate'} | {'repeat', id} | {'mismatch', id}
--   | {'busy'} | {'full', waiting} | {'model_full', most that may wait} | {'key_full', waiting} | {'too_fast', seconds to wait} | {'input_gone', name}
local function unique_path(path, own)
  local stem, ending = path:match('^(.*[^/])(%.[^./]+)$')
  return (stem or path) .. '-' .. own .. (ending or '')
end

local id = ARGV[1]
local record = {}
for i = 10, #ARGV, 2 do record[ARGV[i]] = ARGV[i + 1] end
local key = record.key

local remembered = K.IDEMPOTENCY .. key .. ':' .. ARGV[5]
if ARGV[5] ~= '' then
  local known = redis.call('GET', remembered)
  if known then
    local sent, fingerprint = known:match('^(%S+) (%S*)$')
    -- Where records are kept for a shorter time than these keys, there may be no answer to repeat any more.
    if redis.call('EXISTS', K.JOB .. sent) == 1 then return {fingerprint == ARGV[6] and 'repeat' or 'mismatch', sent} end
  end
end
if ARGV[8] == '1' and room(ARGV[9], record.model) <= 0 then
  -- A repeat whose first answer was lost is told the same as then.
  return {redis.call('EXISTS', K.JOB .. id) == 1 and 'duplicate' or 'busy'}
end
-- An id stays taken while files of an earlier job of this name may still be there.
local taken = redis.call('EXISTS', K.JOB .. id, K.DELETED .. id) > 0 or redis.call('ZSCORE', K.DUE, outputs_of(id))
if taken then return {'duplicate'} end
for name in (record.inputs or ''):gmatch('%S+') do
  if not is_kept(name) then return {'input_gone', name} end
end
local queued = redis.call('ZCARD', K.STATE .. 'queued')
if queued >= tonumber(ARGV[2]) then return {'full', queued} end
if record.model_max_waiting then
  local same = tonumber(redis.call('HGET', K.WAITING, 'model:' .. record.model) or 0)
  if same >= tonumber(record.model_max_waiting) then return {'model_full', record.model_max_waiting} end
end
local own = redis.call('ZCARD', K.STATE .. 'queued:' .. key)
if ARGV[3] ~= '0' and own >= tonumber(ARGV[3]) then return {'key_full', own} end
local now = now_ms()
if ARGV[4] ~= '0' then
  local minute = K.MINUTE .. key .. ':' .. int(math.floor(now / 60000))
  if tonumber(redis.call('GET', minute) or 0) >= tonumber(ARGV[4]) then
    return {'too_fast', math.ceil(60 - (now / 1000) % 60)}
  end
  redis.call('INCR', minute)
  redis.call('EXPIRE', minute, 120)
end

local sequence = int(redis.call('HINCRBY', K.COUNTERS, 'sequence', 1))
redis.call('HSET', K.JOB .. id, 'sequence', sequence, 'created_at', int(now), 'attempt', 0, unpack(ARGV, 10))
if record.webhook == nil then
  local own = redis.call('HGET', K.WEBHOOKS, key)  -- of all jobs of the key
  if own and not cjson.decode(own).gone_at then redis.call('HSET', K.JOB .. id, 'webhook', own) end
end
if ARGV[7] ~= '0' then redis.call('HSET', K.JOB .. id, 'start_by', int(now + ARGV[7])) end
redis.call('ZADD', K.JOBS, int(now), id)
if key ~= K.NOBODY then redis.call('ZADD', K.JOBS .. ':' .. key, int(now), id) end
if ARGV[5] ~= '' then redis.call('SET', remembered, id .. ' ' .. ARGV[6], 'PX', CFG.idempotency_ttl_ms) end
if record.path then
  -- A path of the caller's own names one job; it is free again when that job's record has left.
  local name = K.FILE .. key .. ':' .. record.path
  local known = redis.call('GET', name)
  if known and redis.call('EXISTS', K.JOB .. known) == 1 then
    record.path = unique_path(record.path, id)
    redis.call('HSET', K.JOB .. id, 'path', record.path)
    name = K.FILE .. key .. ':' .. record.path
  end
  redis.call('SET', name, id)
end
redis.call('HINCRBY', K.COUNTERS, 'submitted', 1)
use_inputs(record.inputs or '')
set_state(id, 'queued')
enqueue(id)
local bindings = feed_idle(record.model)
if not has(job_get(id, 'slot')) then emit(id) end
local expected = forecast(id)
-- What the caller is told now is compared with what happens: the error of the ETA is reported.
if expected[2] ~= '' then redis.call('HSET', K.JOB .. id, 'promised_s', expected[2]) end
if record.mailbox and expected[2] ~= '' then redis.call('HSET', K.JOB .. id, 'quoted_s', expected[2]) end
return {'ok', bindings, int(now), expected, record.path or ''}
