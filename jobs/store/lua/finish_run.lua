-- A run is done: running → delivering while its frames wait in a spool, or → succeeded when nothing is to be delivered.
-- Frees the slot in any case.
-- `node`: the host whose spool holds the frames, or '' when nothing is to be delivered. `run_s`: measured, without
-- loading. `blocked`: why the slot takes no new job, or ''. `report`: the result of a model command (JSON), or ''.
-- `outputs` (JSON list), `result` (JSON object): of a worker that has stored its outputs itself, or ''.
-- Returns {1 if the attempt was current, else 0: a repeated call gets the same; the model, or '' if this call did not
--   end the run of a request; seconds by which the promised time was wrong, or ''; ms since it was cancelled, or -1}
-- include: common, events, fairness, files, lifecycle, memory, offers, rates, records, recovery, states
-- on demand: add_notice, add_webhook_delivery, bind, can_run, classes_by_turn, delete_record, dequeue, enqueue
-- on demand: expire, first_job, first_of_line, next_of_class, offer_job, offer_key, remove_at, renew_lease
-- on demand: requeue, unreserve
local id, attempt, slot, node, run_s, blocked, report, outputs, result = unpack(ARGV)
go_on_without_memory()
reported_id = id

-- Outputs that a worker stored for an attempt that is not current are not published.
local function remove_unpublished()
  for _, output in ipairs(cjson.decode(has(outputs) and outputs or '[]')) do remove_at(output.key, now_ms()) end
end

-- What is measured of the run.
local model, eta_error_s = '', ''

-- Count how far off the time was that the caller was promised.
local function add_eta_error(created_at, promised_s)
  local actual_s = (now_ms() - created_at) / 1000
  eta_error_s = string.format('%.3f', math.abs(actual_s - promised_s))
  redis.call('HINCRBY', K.COUNTERS, 'eta_jobs', 1)
  redis.call('HINCRBYFLOAT', K.COUNTERS, 'eta_error_s', math.abs(actual_s - promised_s))
  redis.call('HINCRBYFLOAT', K.COUNTERS, 'eta_actual_s', actual_s)
  unset_job(id, {'promised_s'})
end

local function end_run()
  local record = job_of(id)
  set_job(id, {computed_at = int(now_ms()), run_s = run_s, step = record.steps or '0'})
  settle_charge(id, tonumber(run_s))
  unset_job(id, {'stage_percent', 'eta_s', 'interrupt', 'resumable', 'not_resumable'})
  if has(report) then set_job(id, {report = report}) end
  if not has(record.command) then
    model = record.model
    -- A resumed run has less work, but encodes its inputs and decodes its outputs as any other.
    if not record.whole_work or 2 * record.work >= tonumber(record.whole_work) then
      add_rate(record.model, slot, share_s(record, run_s) / math.max(record.work, 1e-9))
    end
    if has(record.promised_s) then add_eta_error(record.created_at, record.promised_s) end
  end
  if node == '' then
    if has(outputs) then set_job(id, {outputs = outputs, result = result}) end
    finish(id, STATE.SUCCEEDED)
  else
    set_job(id, {node = node, stage = STATE.DELIVERING})
    redis.call('ZADD', K.DELIVERING, int(now_ms() + CFG.resend_after_ms), id)
    set_state(id, STATE.DELIVERING)
    emit(id)
  end
end

if node ~= '' and slot_of(slot).job == id and (slot_of(slot).blocked or '') ~= blocked then
  set_slot(slot, {blocked = blocked})
  index_slot(slot)
end
if has(outputs) and is_current(id, attempt, STATE.SUCCEEDED) then
  local is_same = job_of(id).outputs == outputs
  if not is_same then remove_unpublished() end
  return {is_same and 1 or 0, '', '', -1}
end
local is_repeat = is_current(id, attempt, STATE.DELIVERING) or (node == '' and is_current(id, attempt, STATE.SUCCEEDED))
local is_running = is_current(id, attempt, STATE.RUNNING)
if is_running then
  end_run()
elseif not is_repeat then
  remove_unpublished()
end
local stopped_ms = release(slot, id, attempt)
return {(is_running or is_repeat) and 1 or 0, model, eta_error_s, stopped_ms}
