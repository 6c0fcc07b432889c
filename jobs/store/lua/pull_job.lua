-- A worker over HTTP asks for a job: open the first of its slots that has no job and no other open request.
-- `base`: the worker's name and its first slot; further ones end in ~1, ~2, … . `max_slots`: how many slots it may
-- have.
-- `batch`: how many jobs it takes at once. `facts`: of the slot (models, away_lease_ms, …).
-- Returns {slot, job or '', attempt}; {'', '', 0} when all its slots are taken.
-- include: binding, common, memory, records, slots
local base, owner, max_slots, batch = unpack(ARGV)
local facts = {unpack(ARGV, 5)}
go_on_without_memory()

batch = math.max(tonumber(batch), tonumber(redis.call('HGET', K.SLOT .. base, 'batch') or 1))
if redis.call('EXISTS', K.SLOT .. base) == 1 then redis.call('HSET', K.SLOT .. base, 'batch', batch) end

local function open_slot(slot)
  redis.call('HSET', K.SLOT .. slot, 'owner', owner, 'pulls', '1', 'open', '1', 'batch', batch, unpack(facts))
  redis.call('HSETNX', K.SLOT .. slot, 'since', int(now_ms()))
  redis.call('HDEL', K.SLOT .. slot, 'suspect_at')
  redis.call('SADD', K.SLOTS, slot)
  renew_lease(slot)
  local id, attempt = fill_slot(slot)
  return {slot, id or '', tonumber(attempt or 0)}
end

for i = 0, max_slots - 1 do
  local slot = i == 0 and base or base .. '~' .. i
  local job, attempt, open = unpack(redis.call('HMGET', K.SLOT .. slot, 'job', 'attempt', 'open'))
  if has(job) and is_current(job, attempt, STATE.QUEUED) and job_get(job, 'slot') == slot then
    return {slot, job, tonumber(attempt)}  -- bound for an earlier request that ended before it could take the job
  end
  if has(job) and batch == 1 then
    -- A worker that takes one job at a time asks for the next one: it was restarted, or its result is on the way. The
    -- shorter lease finds out which.
    redis.call('ZADD', K.LEASES, 'XX', 'LT', int(now_ms() + CFG.lease_ms), slot)
  end
  if not has(job) and not has(open) then return open_slot(slot) end
end
return {'', '', 0}
