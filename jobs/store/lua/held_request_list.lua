-- Held requests of a key that were not delivered, from `first` to `last` of them, oldest first.
-- Returns {{id, jobs (JSON), seed, stage}, …}; the stage is 'waiting', 'started' or 'over', and 'gone' for a request
-- that is no longer kept.
-- include: common, records
local key, first, last = unpack(ARGV)

local function stage_of(jobs)
  local known, over, stage = 0, 0, 'waiting'
  for _, job in ipairs(jobs) do
    local state, started_at = unpack(redis.call('HMGET', K.JOB .. job, 'state', 'started_at'))
    if has(started_at) then stage = 'started' end
    if state then known = known + 1 end
    if is_over(state) then over = over + 1 end
  end
  return known > 0 and known == over and 'over' or stage
end

local rows = {}
for _, id in ipairs(redis.call('ZRANGE', K.HELD_REQUESTS .. key, first, last)) do
  local jobs, seed = unpack(redis.call('HMGET', K.HELD_REQUEST .. key .. ':' .. id, 'jobs', 'seed'))
  table.insert(rows, {id, jobs or '[]', seed or '0', jobs and stage_of(cjson.decode(jobs)) or 'gone'})
end
return rows
