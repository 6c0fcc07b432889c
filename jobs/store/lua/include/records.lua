-- Records of jobs and slots. A script reads each hash once; what it changed is written when it returns
-- (jobs/store/lua/loader.py adds that call).

-- By the name of a hash: its fields; what to write, as field, value, …; the names of removed fields.
local records, written, removed = {}, {}, {}

-- A table from a list of field, value, ….
local function table_of(list)
  local fields = {}
  for i = 1, #list, 2 do fields[list[i]] = list[i + 1] end
  return fields
end

local function read_record(name)
  local record = records[name]
  if not record then
    record = table_of(redis.call('HGETALL', name))
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

-- Note a field of a hash that is not read as a record, and the same for a record.
local function write_field(name, field, value)
  local list = written[name]
  if not list then
    list = {}
    written[name] = list
  end
  list[#list + 1] = field
  list[#list + 1] = value
end

local function set_fields(name, fields)
  local record, list, gone = read_record(name), written[name], removed[name]
  if not list then
    list = {}
    written[name] = list
  end
  for field, value in pairs(fields) do
    record[field] = value
    list[#list + 1] = field
    list[#list + 1] = value
    if gone then gone[field] = nil end
  end
end

local function unset_fields(name, fields)
  local record = read_record(name)
  for _, field in ipairs(fields) do
    if record[field] then
      record[field] = nil
      removed[name] = removed[name] or {}
      removed[name][field] = true
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

-- Begin a record that does not exist. `list`: its fields as field, value, …; not to be used afterwards.
local function new_record(name, fields, list)
  records[name], written[name] = fields, list
end

local function delete_hash(name)
  redis.call('DEL', name)
  records[name], written[name], removed[name] = {}, nil, nil
end

-- Fields that were set before they were removed are removed; those that were set again afterwards are not.
local function write_records()
  for name, list in pairs(written) do redis.call('HSET', name, unpack(list)) end
  for name, fields in pairs(removed) do
    local names = {}
    for field, _ in pairs(fields) do names[#names + 1] = field end
    if names[1] then redis.call('HDEL', name, unpack(names)) end
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
  return state and state ~= STATE.QUEUED and state ~= STATE.RUNNING and state ~= STATE.PAUSED
    and state ~= STATE.DELIVERING
end
