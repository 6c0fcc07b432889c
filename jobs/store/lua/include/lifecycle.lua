-- The end of a job, and its way back into the queue.
-- include: common, events, fairness, queue, retention, states

-- Jobs that this script has ended, as {id, state}. The process that called the script announces them.
local ended = {}

local function delete_previews(id)
  redis.call('DEL', K.PREVIEW .. id, K.PROGRESS .. id)
  redis.call('HDEL', K.JOB .. id, 'preview_step')
end

-- End a job in this final state, whatever it did before.
local function finish(id, state)
  table.insert(ended, {id, state})
  local now = now_ms()
  dequeue(id)
  redis.call('ZREM', K.ASSIGNED, id)
  redis.call('ZREM', K.DELIVERING, id)
  delete_previews(id)
  redis.call('DEL', K.PREVIEW_WANTED .. id)
  set_state(id, state)
  redis.call('HDEL', K.JOB .. id, 'stage', 'stage_percent', 'eta_s', 'eta_at', 'delivery_owner', 'deliveries',
    'failures', 'next_look_at', 'node_gone_at', 'assigned_at', 'lane', 'sequence', 'node', 'run', 'skips',
    'skipped_at', 'start_by', 'handed_back', 'delivery_problem')
  redis.call('HSET', K.JOB .. id, 'finished_at', int(now))
  redis.call('HINCRBY', K.COUNTERS, state, 1)
  schedule_removal(id, state, now)
  emit(id)
end

local function fail(id, code, message)
  redis.call('HSET', K.JOB .. id, 'error', cjson.encode({code = code, message = message}))
  finish(id, STATE.FAILED)
end

-- End a job that did not start before its deadline.
local function expire(id)
  local problem = {code = 'expired', message = 'not started before its deadline'}
  redis.call('HSET', K.JOB .. id, 'error', cjson.encode(problem))
  finish(id, STATE.EXPIRED)
end

-- Put a job back into the queue. It keeps its sequence number, so younger jobs stay behind it.
local function requeue(id)
  settle_charge(id, 0)
  redis.call('HDEL', K.JOB .. id, 'slot', 'device', 'run', 'assigned_at', 'started_at', 'stage', 'stage_percent',
    'step', 'eta_s', 'eta_at', 'computed_at', 'node', 'run_s', 'delivery_owner', 'deliveries', 'failures',
    'next_look_at', 'node_gone_at', 'delivery_problem')
  redis.call('ZREM', K.ASSIGNED, id)
  redis.call('ZREM', K.DELIVERING, id)
  delete_previews(id)
  set_state(id, STATE.QUEUED)
  enqueue(id)
  emit(id)
end
