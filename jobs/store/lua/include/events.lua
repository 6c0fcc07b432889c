-- Events for listeners.
-- include: records

-- The record of a longer job is left out of the message about its end.
local MAX_RECORD_BYTES = 16384

-- Publish the job's present state. `preview_step`: the step of a preview that was just stored, or nil. The message
-- about its end has the record (JSON) in a second line, so that who waits need not read it.
local function emit(id, preview_step)
  local record = job_of(id)
  local text = cjson.encode({
    task_id = id, preview = preview_step, state = record.state, attempt = record.attempt, slot = record.slot,
    device = record.device, stage = record.stage, stage_percent = record.stage_percent, step = record.step,
    steps = record.steps, eta_s = record.eta_s, key = record.key, mailbox = record.mailbox,
    delivery_problem = record.delivery_problem, pausing = record.interrupt == INTERRUPT.PAUSE and '1' or nil,
  })
  local event_id = redis.call('XADD', K.EVENTS, 'MAXLEN', '~', CFG.event_log_length, '*', 'event', text)
  local second_line = is_over(record.state) and '\n' .. cjson.encode(record) or ''
  if #second_line > MAX_RECORD_BYTES then second_line = '' end
  redis.call('PUBLISH', K.EVENTS, event_id .. ' ' .. text .. second_line)
  -- The channel that Celery's AsyncResult.get() waits on.
  if is_over(record.state) then redis.call('PUBLISH', K.JOB .. id, text) end
end
