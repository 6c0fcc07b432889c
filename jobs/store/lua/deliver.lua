-- The outputs are stored: publish them. ARGV: id, attempt, owner, outputs (JSON).
-- Returns 1, or 0 when stale: then they are to be removed. A repeat whose first answer was lost is told the same.
local id = ARGV[1]
if owns(id, ARGV[2], 'succeeded') and job_get(id, 'outputs') == ARGV[4] then return 1 end
if not owns(id, ARGV[2], 'delivering') or job_get(id, 'delivery_owner') ~= ARGV[3] then
  for _, output in ipairs(cjson.decode(ARGV[4])) do
    for _, file in pairs({output, output.thumbnail, output.poster}) do discard(file.key, now_ms()) end
  end
  return 0
end
redis.call('HDEL', K.AWAY, job_get(id, 'node'))
redis.call('HSET', K.JOB .. id, 'outputs', ARGV[4])
finish(id, 'succeeded')
return 1
