-- Why computed outputs are not delivered yet.
-- include: common, events, records

-- The outputs of a host can be stored again.
local function object_store_is_back(node)
  redis.call('HDEL', K.AWAY, node)
  redis.call('HDEL', K.AWAY_WHY, node)
end

-- Note in a job what its delivery waits for, and tell its listeners if that is new.
local function note_problem(id, why)
  if not has(why) or job_of(id).delivery_problem == why then return end
  set_job(id, {delivery_problem = why})
  emit(id)
end
