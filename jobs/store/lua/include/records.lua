-- Records of jobs and slots. A script reads each hash once; what it changed is written when it returns
-- (jobs/store/lua/loader.py adds that call).

-- By the name of a hash: its fields; by field, the new value, or false for a removed one; the first fields of a new
-- record as field, value, ….
local records, changes, begun = {}, {}, {}

-- The same records by the ids of jobs and by slots.
local jobs_read, slots_read = {}, {}

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
  local record = jobs_read[id]
  if not record then
    record = read_record(K.JOB .. id)
    jobs_read[id] = record
  end
  return record
end

-- The fields of a slot; nil for missing ones.
local function slot_of(slot)
  local record = slots_read[slot]
  if not record then
    record = read_record(K.SLOT .. slot)
    slots_read[slot] = record
  end
  return record
end

-- One field of a job or slot, for scripts that need no more of it; false or nil for a missing one.
local function field_of(name, field)
  if records[name] then return records[name][field] end
  return redis.call('HGET', name, field)
end

local function changes_of(name)
  local changed = changes[name]
  if not changed then
    changed = {}
    changes[name] = changed
  end
  return changed
end

-- Note a field of a hash that is not read as a record.
local function write_field(name, field, value)
  changes_of(name)[field] = value
end

local function set_fields(record, name, fields)
  local changed = changes_of(name)
  for field, value in next, fields do
    record[field], changed[field] = value, value
  end
end

local function unset_fields(record, name, fields)
  local changed
  for i = 1, #fields do
    local field = fields[i]
    if record[field] then
      changed = changed or changes_of(name)
      changed[field] = false
      record[field] = nil
    end
  end
end

local function set_job(id, fields)
  set_fields(job_of(id), K.JOB .. id, fields)
end

local function unset_job(id, fields)
  unset_fields(job_of(id), K.JOB .. id, fields)
end

local function set_slot(slot, fields)
  set_fields(slot_of(slot), K.SLOT .. slot, fields)
end

local function unset_slot(slot, fields)
  unset_fields(slot_of(slot), K.SLOT .. slot, fields)
end

-- Begin a record that does not exist. `list`: its fields as field, value, …; not to be used afterwards.
local function new_record(name, fields, list)
  records[name], begun[name] = fields, list
  jobs_read, slots_read = {}, {}
  changes_of(name)
end

local function delete_hash(name)
  redis.call('DEL', name)
  records[name], changes[name], begun[name] = {}, nil, nil
  jobs_read, slots_read = {}, {}
end

-- The numbers of K.SERVED are written with six decimals.
local function write_records()
  for name, changed in next, changes do
    local values, gone, are_numbers = begun[name] or {}, nil, name == K.SERVED
    local last = #values
    for field, value in next, changed do
      if value then
        if are_numbers then value = string.format('%.6f', value) end
        values[last + 1], values[last + 2] = field, value
        last = last + 2
      else
        gone = gone or {}
        gone[#gone + 1] = field
      end
    end
    if last > 0 then redis.call('HSET', name, unpack(values)) end
    if gone then redis.call('HDEL', name, unpack(gone)) end
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
