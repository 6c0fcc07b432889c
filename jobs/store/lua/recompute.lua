-- The frames of this attempt are gone: run the job again. ARGV: id, attempt. Returns {1|0, bindings}
local id = ARGV[1]
if not owns(id, ARGV[2], 'delivering') then return {0, {}} end
if tonumber(job_get(id, 'starts') or 0) >= CFG.max_attempts then
  fail(id, 'output_lost', 'the computed frames were lost before they could be stored')
  return {1, {}}
end
requeue(id)
return {1, feed_idle()}
