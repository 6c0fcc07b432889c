-- Records of jobs and slots. A script reads each hash once; what it changed is written when it returns
-- (jobs/store/lua/loader.py adds that call).

-- Records by the name of their hash; changed fields by the same name, false for removed ones.
local records, changes = {}, {}

local function read_record(name)
  local record = records[name]
  if not record then
    record = {}
    local values = redis.call('HGETALL', name)
    for i = 1, #values, 2 do record[values[i]] = values[i + 1] end
    records[name] = record
  end
  return record
end

-- The fields of a job; nil for missing ones.
local function job_of(id)
  return read_record(K.JOB .. id)
end

-- The fields of a slot; nil for missing ones.
local function slot_of(slot)
  return read_record(K.SLOT .. slot)
end

-- One field of a job or slot, for scripts that need no more of it; false or nil for a missing one.
local function field_of(name, field)
  if records[name] then return records[name][field] end
  return redis.call('HGET', name, field)
end

-- Note a change of a hash that is not read as a record.
local function note_change(name, field, value)
  changes[name] = changes[name] or {}
  changes[name][field] = value
end

local function set_fields(name, fields)
  local record = read_record(name)
  for field, value in pairs(fields) do
    record[field] = tostring(value)
    note_change(name, field, record[field])
  end
end

local function unset_fields(name, fields)
  local record = read_record(name)
  for _, field in ipairs(fields) do
    if record[field] then
      record[field] = nil
      note_change(name, field, false)
    end
  end
end

local function set_job(id, fields)
  set_fields(K.JOB .. id, fields)
end

local function unset_job(id, fields)
  unset_fields(K.JOB .. id, fields)
end

local function set_slot(slot, fields)
  set_fields(K.SLOT .. slot, fields)
end

local function unset_slot(slot, fields)
  unset_fields(K.SLOT .. slot, fields)
end

-- A job as field, value, …
local function job_list(id)
  local list = {}
  for field, value in pairs(job_of(id)) do
    list[#list + 1] = field
    list[#list + 1] = value
  end
  return list
end

-- Begin a record that does not exist, with these fields (field, value, …).
local function new_record(name, fields)
  records[name] = {}
  for i = 1, #fields, 2 do
    records[name][fields[i]] = fields[i + 1]
    note_change(name, fields[i], fields[i + 1])
  end
end

local function delete_hash(name)
  redis.call('DEL', name)
  records[name], changes[name] = {}, nil
end

local function write_records()
  for name, fields in pairs(changes) do
    local set, removed = {}, {}
    for field, value in pairs(fields) do
      if value then
        set[#set + 1] = field
        set[#set + 1] = value
      else
        removed[#removed + 1] = field
      end
    end
    if removed[1] then redis.call('HDEL', name, unpack(removed)) end
    if set[1] then redis.call('HSET', name, unpack(set)) end
  end
end

-- Whether this attempt is the job's newest and the job is in this state. The attempt number is a fencing token: it
-- grows with every binding, so a worker of an older attempt can change nothing.
local function is_current(id, attempt, state)
  local record = job_of(id)
  return record.state == state and record.attempt == tostring(attempt)
end

-- Whether a state is final. Not true for a missing record.
local function is_over(state)
  return state and state ~= STATE.QUEUED and state ~= STATE.RUNNING and state ~= STATE.DELIVERING
end
