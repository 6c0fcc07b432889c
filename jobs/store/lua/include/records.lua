-- Reading job records.

local function job_get(id, field)
  return redis.call('HGET', K.JOB .. id, field)
end

-- Whether this attempt is the job's newest and the job is in this state. The attempt number is a fencing token: it
-- grows with every binding, so a worker of an older attempt can change nothing.
local function is_current(id, attempt, state)
  local record = redis.call('HMGET', K.JOB .. id, 'state', 'attempt')
  return record[1] == state and record[2] == tostring(attempt)
end

-- Whether a state is final. Not true for a missing record.
local function is_over(state)
  return state and state ~= STATE.QUEUED and state ~= STATE.RUNNING and state ~= STATE.DELIVERING
end
