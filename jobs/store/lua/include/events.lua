-- Events for listeners.
-- include: common, records

local EVENT_FIELDS = {'state', 'attempt', 'slot', 'device', 'stage', 'stage_percent', 'step', 'steps', 'eta_s', 'key',
  'mailbox', 'delivery_problem'}

-- The record of a longer job is left out of the message about its end.
local MAX_RECORD_BYTES = 16384

-- Publish the job's present state. `preview_step`: the step of a preview that was just stored, or nil. The message
-- about its end has the record in a second line (JSON list: field, value, …), so that who waits need not read it.
local function emit(id, preview_step)
  local record, event = job_of(id), {task_id = id, preview = preview_step}
  for _, name in ipairs(EVENT_FIELDS) do
    if has(record[name]) then event[name] = record[name] end
  end
  local text = cjson.encode(event)
  local event_id = redis.call('XADD', K.EVENTS, 'MAXLEN', '~', CFG.event_log_length, '*', 'event', text)
  local second_line = is_over(record.state) and '\n' .. cjson.encode(job_list(id)) or ''
  if #second_line > MAX_RECORD_BYTES then second_line = '' end
  redis.call('PUBLISH', K.EVENTS, event_id .. ' ' .. text .. second_line)
  redis.call('PUBLISH', K.JOB .. id, text)  -- the channel that Celery's AsyncResult.get() waits on
end
