-- Events for listeners.
-- include: common

-- Publish the job's present state. `preview_step`: the step of a preview that was just stored, or nil.
local function emit(id, preview_step)
  local names = {'state', 'attempt', 'slot', 'device', 'stage', 'stage_percent', 'step', 'steps', 'eta_s', 'key',
    'mailbox', 'delivery_problem'}
  local values = redis.call('HMGET', K.JOB .. id, unpack(names))
  local event = {task_id = id, preview = preview_step}
  for i, name in ipairs(names) do
    if has(values[i]) then event[name] = values[i] end
  end
  local text = cjson.encode(event)
  local event_id = redis.call('XADD', K.EVENTS, 'MAXLEN', '~', CFG.event_log_length, '*', 'event', text)
  redis.call('PUBLISH', K.EVENTS, event_id .. ' ' .. text)
  redis.call('PUBLISH', K.JOB .. id, text)  -- the channel that Celery's AsyncResult.get() waits on
end
