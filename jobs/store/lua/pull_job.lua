-- A worker over HTTP asks for a job: open the first of its slots that has no job and no other open request.
-- `base`: the worker's name and its first slot; further ones end in ~1, ~2, … . `max_slots`: how many slots it may
-- have. `first`: number of the first slot that may be free; those before it are not looked at.
-- `device`, `run`: as in start_run, to start a job that waits already; '' to bind it only. A repeated call with the
-- same `run` gets the job that it started.
-- `facts`: of the slot (models, away_lease_ms, …).
-- Returns {slot, job or '', attempt, its record (JSON) if it was started or ''}; {'', '', 0, ''} when all its slots are
-- taken.
-- include: attempts, binding, common, memory, records, slots
local base, owner, max_slots, first, device, run = unpack(ARGV)
local facts = {unpack(ARGV, 7)}
go_on_without_memory()

local start = has(run) and {device = device, run = run} or nil

local function open_slot(slot)
  if not slot_of(slot).owner then
    set_slot(slot, {since = int(now_ms())})
    redis.call('SADD', K.SLOTS, slot)
  end
  set_slot(slot, {owner = owner, pulls = '1', open = '1'})
  set_facts(slot, facts)
  unset_slot(slot, {'suspect_at'})
  renew_lease(slot)
  local id, attempt = fill_slot(slot, start)
  return {slot, id or '', tonumber(attempt or 0), id and start and cjson.encode(job_of(id)) or ''}
end

for i = tonumber(first), max_slots - 1 do
  local slot = i == 0 and base or base .. '~' .. i
  local record = slot_of(slot)
  local job, attempt = record.job, record.attempt
  if start and has(job) and is_current(job, attempt, STATE.RUNNING) and job_of(job).run == run then
    return {slot, job, tonumber(attempt), cjson.encode(job_of(job))}
  end
  if has(job) and is_current(job, attempt, STATE.QUEUED) and job_of(job).slot == slot then
    -- It was bound for an earlier request that ended before it could take the job.
    if start then start_attempt(job, slot, device, run) end
    return {slot, job, tonumber(attempt), start and cjson.encode(job_of(job)) or ''}
  end
  -- A slot with a running job is left alone. Two workers may share a name, so the one that asks need not be the one
  -- that computes.
  if not has(job) and not has(record.open) then return open_slot(slot) end
end
return {'', '', 0, ''}
