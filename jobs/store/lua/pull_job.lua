-- A worker over HTTP asks for a job: open the first of its slots that has no job and no other open request.
-- `base`: the worker's name and its first slot; further ones end in ~1, ~2, … . `max_slots`: how many slots it may
-- have. `first`: number of the first slot that may be free; those before it are not looked at.
-- `facts`: of the slot (models, away_lease_ms, …).
-- Returns {slot, job or '', attempt}; {'', '', 0} when all its slots are taken.
-- include: binding, common, memory, records, slots
local base, owner, max_slots, first = unpack(ARGV)
local facts = {unpack(ARGV, 5)}
go_on_without_memory()

local function open_slot(slot)
  redis.call('HSET', K.SLOT .. slot, 'owner', owner, 'pulls', '1', 'open', '1', unpack(facts))
  redis.call('HSETNX', K.SLOT .. slot, 'since', int(now_ms()))
  redis.call('HDEL', K.SLOT .. slot, 'suspect_at')
  redis.call('SADD', K.SLOTS, slot)
  renew_lease(slot)
  local id, attempt = fill_slot(slot)
  return {slot, id or '', tonumber(attempt or 0)}
end

for i = tonumber(first), max_slots - 1 do
  local slot = i == 0 and base or base .. '~' .. i
  local job, attempt, open = unpack(redis.call('HMGET', K.SLOT .. slot, 'job', 'attempt', 'open'))
  if has(job) and is_current(job, attempt, STATE.QUEUED) and job_get(job, 'slot') == slot then
    return {slot, job, tonumber(attempt)}  -- bound for an earlier request that ended before it could take the job
  end
  -- A slot with a running job is left alone. Two workers may share a name, so the one that asks need not be the one
  -- that computes.
  if not has(job) and not has(open) then return open_slot(slot) end
end
return {'', '', 0}
