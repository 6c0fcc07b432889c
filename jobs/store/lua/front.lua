-- Move a waiting job before all others. ARGV: id. Returns {'moved'|'unknown'|the job's state, bindings}
local id = ARGV[1]
local record = redis.call('HMGET', K.JOB .. id, 'state', 'slot', 'model', 'lane')
if not record[1] then return {'unknown', {}} end
if record[1] ~= 'queued' or has(record[2]) then return {record[1], {}} end
dequeue(id)
if record[4]:sub(1, 1) == K.PIN then
  redis.call('HSET', K.JOB .. id, 'priority', 1000)
else
  redis.call('HSET', K.JOB .. id, 'lane', K.FRONT .. record[3])
end
enqueue(id)
emit(id)
return {'moved', feed_idle(record[3])}
