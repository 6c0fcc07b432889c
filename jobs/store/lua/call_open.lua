-- A client's call that waits for jobs. ARGV: key, digest of its body, its id if it is new, '1' if the client chose that
-- id, ids of its jobs (JSON), seed, holder, length of a claim in ms, time it is kept in ms, then call, ticket … of the
-- last try.
-- Returns {'new'} | {'repeat', id, jobs, seed} | {'wait', {call, ticket, …}} | {'mismatch'}
local key, digest, id, jobs, seed, holder = ARGV[1], ARGV[2], ARGV[3], ARGV[5], ARGV[6], ARGV[7]
local now, own, repeats = now_ms(), K.CALL .. key .. ':' .. id, K.REPEATS .. key .. ':' .. digest
local known = redis.call('HMGET', own, 'digest', 'jobs', 'seed', 'until')
if known[1] == digest then return {'repeat', id, known[2], known[3]} end
if known[1] then
  -- An id may be used for another request when nobody waits for the one before and it is over.
  if tonumber(known[4]) >= now then return {'mismatch'} end
  for _, job in ipairs(cjson.decode(known[2])) do
    local state = job_get(job, 'state')
    if state and not is_over(state) then return {'mismatch'} end
  end
  redis.call('DEL', own)
end
if ARGV[4] ~= '1' then
  local tickets, wait = {}, {}
  for i = 10, #ARGV, 2 do tickets[ARGV[i]] = tonumber(ARGV[i + 1]) end
  for _, other in ipairs(redis.call('SMEMBERS', repeats)) do
    local name = K.CALL .. key .. ':' .. other
    local values = redis.call('HMGET', name, 'until', 'answered', 'jobs', 'seed', 'holder')
    if not values[1] then
      redis.call('SREM', repeats, other)
    elseif tonumber(values[1]) < now or values[5] == holder then
      redis.call('HSET', name, 'holder', holder, 'until', int(now + ARGV[8]))
      return {'repeat', other, values[3], values[4]}
    else
      local ticket = tickets[other] or redis.call('HINCRBY', name, 'asked', 1)
      if tonumber(values[2]) < ticket then
        table.insert(wait, other)
        table.insert(wait, int(ticket))
      end
    end
  end
  if #wait > 0 then return {'wait', wait} end
  redis.call('SADD', repeats, id)
  redis.call('PEXPIRE', repeats, ARGV[9])
end
redis.call('HSET', own, 'digest', digest, 'jobs', jobs, 'seed', seed, 'holder', holder, 'until', int(now + ARGV[8]),
  'asked', 0, 'answered', 0, 'forced', ARGV[4])
redis.call('PEXPIRE', own, ARGV[9])
redis.call('ZADD', K.CALLS .. key, int(now), id)
redis.call('PEXPIRE', K.CALLS .. key, ARGV[9])
return {'new'}
