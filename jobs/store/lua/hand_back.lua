-- A slot's back end could not do this attempt: the job goes back to its place, and the slot gets none until it is well.
-- ARGV: id, attempt, slot, '1' if the run counts as one of max_attempts, why. Returns {state now, bindings}
local id, attempt, slot = ARGV[1], ARGV[2], ARGV[3]
local facts = redis.call('HMGET', K.SLOT .. slot, 'job', 'attempt')
if facts[1] == id and facts[2] == attempt then redis.call('HSET', K.SLOT .. slot, 'blocked', ARGV[5]) end
if owns(id, attempt, 'running') then
  redis.call('HSET', K.JOB .. id, 'handed_back', ARGV[5])
  if ARGV[4] ~= '1' then redis.call('HINCRBY', K.JOB .. id, 'starts', -1) end
  lose(id, attempt)
end
local bindings = release(slot, id, attempt)
for _, binding in ipairs(feed_idle()) do table.insert(bindings, binding) end
return {job_get(id, 'state') or '', bindings}
