-- Stored objects, and which jobs need them.
-- K.DUE holds the objects that may be removed, by the time from which they may; a name that ends in '/' stands for all
-- objects below it. The name of an input is never reused: once it was taken for removal, the same image gets a new
-- name, so a late removal cannot hit an image that was sent again.
-- include: common, records

local function outputs_of(id)
  return K.OUTPUT_OBJECTS .. id .. '/'
end

-- The job whose outputs an object name stands for (all of them), or nil.
local function job_of_outputs(name)
  return name:match('^' .. K.OUTPUT_OBJECTS .. '([^/]+)/$')
end

local function is_input(name)
  return name:sub(1, #K.INPUT_OBJECTS) == K.INPUT_OBJECTS
end

-- Let an object be removed from this time on.
local function remove_at(name, at)
  redis.call('ZADD', K.DUE, 'LT', int(at), name)
end

-- The same for all files of a job, including the one under a name that its caller chose.
local function remove_outputs_at(id, at)
  remove_at(outputs_of(id), at)
  local alias = field_of(K.JOB .. id, 'alias')
  if has(alias) then remove_at(alias, at) end
end

local function checkpoints_of(id)
  return K.CHECKPOINT_OBJECTS .. id .. '/'
end

-- The SHA-256 in the name of an input; '' for other names.
local function digest_of(name)
  return name:match('^' .. K.INPUT_OBJECTS .. '(%x+)%.') or ''
end

-- Whether an input is stored or about to be stored, and not being removed.
local function is_kept(name)
  return redis.call('HGET', K.INPUTS, digest_of(name)) == name
end

local function is_used(name)
  return redis.call('HEXISTS', K.INPUT_USES, name) == 1
end

-- Count a job as a user of its inputs (names separated by spaces).
local function use_inputs(names)
  for name in names:gmatch('%S+') do redis.call('HINCRBY', K.INPUT_USES, name, 1) end
end

-- The job needs its inputs no more. An upload that reserved the same image and was not submitted yet keeps its grace.
local function free_inputs(id)
  for name in (job_of(id).inputs or ''):gmatch('%S+') do
    if redis.call('HINCRBY', K.INPUT_USES, name, -1) <= 0 then
      redis.call('HDEL', K.INPUT_USES, name)
      redis.call('ZADD', K.DUE, 'NX', int(now_ms()), name)
    end
  end
  unset_job(id, {'inputs'})
end
