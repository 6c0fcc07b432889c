-- The end of a job, its pauses, and its way back into the queue.
-- include: checkpoints, common, events, fairness, files, queue, rates, records, retention, states, usage, victims

-- The job whose end the process that called the script reports in its log and traces. All other ends wait in K.ENDS
-- until a process takes them to report them.
local reported_id

-- Jobs that this script has put back into the queue.
local requeued = {}

-- End a job in this final state, whatever it did before.
local function finish(id, state)
  if id ~= reported_id then redis.call('LPUSH', K.ENDS, id .. ' ' .. state) end
  local now, record = now_ms(), job_of(id)
  local was_preemptible = is_preemptible(record)
  if record.state == STATE.QUEUED then
    dequeue(id)
    redis.call('ZREM', K.ASSIGNED, id)
  elseif record.state == STATE.DELIVERING then
    redis.call('ZREM', K.DELIVERING, id)
  elseif record.state == STATE.PAUSED then
    redis.call('ZREM', K.DEADLINES, id)
  end
  redis.call('DEL', K.PREVIEW .. id, K.PROGRESS .. id, K.PREVIEW_WANTED .. id)
  if checkpoint_of(id) then remove_at(checkpoints_of(id), now) end
  set_state(id, state)
  unset_job(id, {'stage', 'stage_percent', 'eta_s', 'eta_at', 'delivery_owner', 'deliveries', 'failures',
    'next_look_at', 'node_gone_at', 'assigned_at', 'line', 'sequence', 'node', 'run', 'skips', 'skipped_at', 'start_by',
    'handed_back', 'delivery_problem', 'preview_step', 'interrupt', 'resumable', 'not_resumable', 'checkpoint',
    'paused_at', 'resume_by', 'start_within', 'preempted'})
  if was_preemptible then index_victim(record.slot) end
  set_job(id, {finished_at = int(now)})
  redis.call('HINCRBY', K.COUNTERS, state, 1)
  add_ended(record, state)
  schedule_removal(id, state, now)
  emit(id)
end

local function fail(id, code, message)
  set_job(id, {error = cjson.encode({code = code, message = message})})
  finish(id, STATE.FAILED)
end

-- End a job that did not start before its deadline, or was paused for too long.
local function expire(id)
  local problem = {code = 'expired', message = 'not started before its deadline'}
  if job_of(id).state == STATE.PAUSED then problem = {code = 'not_resumed', message = 'not resumed in time'} end
  set_job(id, {error = cjson.encode(problem)})
  finish(id, STATE.EXPIRED)
end

-- Take a job from its slot. Its checkpoint is kept, and what the run did before that is charged.
local function end_attempt(id)
  local elapsed, lost, checkpoint = elapsed_s(id), unkept_s(id), checkpoint_of(id)
  local record = job_of(id)
  local was_preemptible, slot = is_preemptible(record), record.slot
  if record.interrupt == INTERRUPT.PREEMPT then note_preemption(id) end
  add_lost_run(record, lost)
  settle_charge(id, elapsed - lost)
  if has(record.batch_size) then set_job(id, {alone = '1'}) end  -- it may be the one that broke the run
  unset_job(id, {'slot', 'device', 'run', 'assigned_at', 'started_at', 'stage', 'stage_percent', 'step', 'eta_s',
    'eta_at', 'computed_at', 'node', 'run_s', 'delivery_owner', 'deliveries', 'failures', 'next_look_at',
    'node_gone_at', 'delivery_problem', 'preview_step', 'interrupt', 'resumable', 'not_resumable', 'skips',
    'skipped_at', 'leader', 'batch_size'})
  if checkpoint then set_step(id, checkpoint.step) end
  if was_preemptible then index_victim(slot) end
  redis.call('ZREM', K.ASSIGNED, id)
  redis.call('ZREM', K.DELIVERING, id)
  redis.call('DEL', K.PROGRESS .. id)
end

-- Set a job aside until its caller resumes it. Its newest preview is kept, and the clock of its deadline stands still.
local function set_aside(id)
  local now, start_by, preview_step = now_ms(), job_of(id).start_by, job_of(id).preview_step
  dequeue(id)
  end_attempt(id)
  if has(start_by) then
    set_job(id, {start_within = int(start_by - may_start_at(job_of(id)))})
    unset_job(id, {'start_by'})
  end
  local is_shown = has(preview_step) and redis.call('PEXPIRE', K.PREVIEW .. id, CFG.paused_ttl_ms) == 1
  if is_shown then set_job(id, {preview_step = preview_step}) end
  set_job(id, {paused_at = int(now), resume_by = int(now + CFG.paused_ttl_ms)})
  unset_job(id, {'promised_s'})
  redis.call('ZADD', K.DEADLINES, int(now + CFG.paused_ttl_ms), id)
  set_state(id, STATE.PAUSED)
  emit(id)
end

-- Put a job back into the queue, or set it aside if its run was to be paused. It keeps its sequence number, so younger
-- jobs stay behind it.
local function requeue(id)
  if job_of(id).interrupt == INTERRUPT.PAUSE then return set_aside(id) end
  end_attempt(id)
  redis.call('DEL', K.PREVIEW .. id)
  if has(job_of(id).trace) then set_job(id, {queued_at = int(now_ms())}) end
  set_state(id, STATE.QUEUED)
  enqueue(id)
  emit(id)
  table.insert(requeued, id)
end
