-- Open a request that waits for several jobs, or find the one that it repeats.
-- `digest`: of its body. `id`: of the request if it is new. `forced`: '1' when the client chose that id. `random`: '1'
-- when its seed is random: a delivered answer is then not given again. `jobs`: their ids (JSON). `claim_ms`: how long a
-- holder keeps its claim. `kept_ms`: how long a request is remembered. `repeat_ms`: how long after the end of its claim
-- an equal body repeats it.
-- `tickets`: id, ticket, … of the last try: questions to the holders of requests with an equal body.
-- Returns {'new'} | {'repeat', id, jobs, seed, '1' if it was interrupted} | {'wait', {id, ticket, …}} | {'mismatch'}
-- include: common, records
local key, digest, id, forced, random, jobs, seed, holder, claim_ms, kept_ms, repeat_ms = unpack(ARGV)
local tickets = {unpack(ARGV, 12)}

local name, repeats, now = K.HELD_REQUEST .. key .. ':' .. id, K.REPEATABLE_REQUESTS .. key .. ':' .. digest, now_ms()

-- Whether somebody waits for the request of this id, or a job of it is not over.
local function is_in_use(lapses_at, job_ids)
  if tonumber(lapses_at) >= now then return true end
  for _, job in ipairs(cjson.decode(job_ids)) do
    local state = field_of(K.JOB .. job, 'state')
    if state and not is_over(state) then return true end
  end
  return false
end

-- A request with an equal body that this one may repeat: take it over if its holder is gone, else ask the holder
-- whether its connection still stands. Returns the answer, or nil when there is no such request.
local function find_repeated()
  local known_tickets, unanswered, others = {}, {}, redis.call('SMEMBERS', repeats)
  for i = 1, #tickets, 2 do
    known_tickets[tickets[i]] = tonumber(tickets[i + 1])
    -- One that was interrupted since: this connection was there before, so it is no new request.
    if redis.call('SISMEMBER', repeats, tickets[i]) == 0 then table.insert(others, tickets[i]) end
  end
  for _, other in ipairs(others) do
    local other_name = K.HELD_REQUEST .. key .. ':' .. other
    local values = redis.call('HMGET', other_name, 'until', 'answered', 'jobs', 'seed', 'holder', 'interrupted')
    local lapses_at, answered, other_jobs, other_seed, other_holder, interrupted = unpack(values)
    if not lapses_at or now - lapses_at > tonumber(repeat_ms) then
      redis.call('SREM', repeats, other)
    elseif tonumber(lapses_at) < now or other_holder == holder then
      redis.call('HSET', other_name, 'holder', holder, 'until', int(now + claim_ms))
      return {'repeat', other, other_jobs, other_seed, interrupted or ''}
    else
      local ticket = known_tickets[other] or redis.call('HINCRBY', other_name, 'asked', 1)
      if tonumber(answered) < ticket then
        table.insert(unanswered, other)
        table.insert(unanswered, int(ticket))
      end
    end
  end
  return #unanswered > 0 and {'wait', unanswered} or nil
end

local known = redis.call('HMGET', name, 'digest', 'jobs', 'seed', 'until', 'answer_read')
local known_digest, known_jobs, known_seed, lapses_at, is_read = unpack(known)
if known_digest then
  local in_use = is_in_use(lapses_at, known_jobs)
  if known_digest == digest and (in_use or not is_read or random ~= '1') then
    return {'repeat', id, known_jobs, known_seed, ''}
  end
  if in_use then return {'mismatch'} end
  redis.call('DEL', name)
end
if forced ~= '1' then
  local answer = find_repeated()
  if answer then return answer end
  redis.call('SADD', repeats, id)
  redis.call('PEXPIRE', repeats, kept_ms)
end
redis.call('HSET', name, 'digest', digest, 'jobs', jobs, 'seed', seed, 'holder', holder, 'until', int(now + claim_ms),
  'asked', 0, 'answered', 0, 'forced', forced)
redis.call('PEXPIRE', name, kept_ms)
redis.call('ZADD', K.HELD_REQUESTS .. key, int(now), id)
redis.call('PEXPIRE', K.HELD_REQUESTS .. key, kept_ms)
return {'new'}
