-- Which waiting jobs share a run. They differ from its job in texts and seed only, and are taken in the order in which
-- the scheduler would give them to the slot.
-- include: attempts, common, companions, fairness, offers, queue, records, selection, slots, victims

-- At most this many keys of a line, jobs of a lane and jobs in all are looked at.
local MAX_KEYS_OF_LINE, MAX_OF_LANE, MAX_LOOKED = 8, 8, 32

-- What is compared of a record, besides the request.
local ALIKE = {'model', 'version', 'max_run_ms'}
-- What a record of a job that shares a run does not have: such a job goes on from a checkpoint, or is paused at a step,
-- or a run that it shared did not end.
local EXCLUDED = {'command', 'checkpoint', 'pause_at_step', 'alone'}
-- Parts of a request in which jobs of one run may differ.
local OWN = {prompt = true, negative_prompt = true, original_prompt = true, seed = true, output_format = true,
  output_quality = true, embed_metadata = true}

-- By job: whether it may share the run, as far as they were looked at; and their number.
local may_join, looked = {}, 0

local function is_alike(one, other)
  if type(one) ~= 'table' or type(other) ~= 'table' then return one == other end
  for name, value in pairs(one) do
    if not is_alike(value, other[name]) then return false end
  end
  for name, _ in pairs(other) do
    if one[name] == nil then return false end
  end
  return true
end

-- The part of a request that all jobs of a run have in common. Pipelines treat an empty text as none, or as a text.
local function common_part(record)
  local part = cjson.decode(record.request)
  local is_negated = has(part.negative_prompt)
  for name, _ in pairs(OWN) do part[name] = nil end
  part.is_negated = is_negated
  return part
end

-- Whether a job may share its run at all.
local function is_shareable(record)
  for _, name in ipairs(EXCLUDED) do
    if has(record[name]) then return false end
  end
  return true
end

-- Whether a waiting job may share the run of another one. `part`: what the two have to have in common.
local function may_share(id, leader, part)
  if may_join[id] == nil then
    if looked == MAX_LOOKED then return false end
    looked = looked + 1
    local record = job_of(id)
    local may = is_shareable(record) and (not has(record.start_by) or tonumber(record.start_by) > now_ms())
    for _, name in ipairs(ALIKE) do may = may and (record[name] or '') == (leader[name] or '') end
    may_join[id] = may and is_alike(common_part(record), part)
  end
  return may_join[id]
end

-- The first job of a line that may share the run; nil when there is none.
local function first_to_share(line, leader, part)
  local ready = redis.call('ZRANGE', K.READY .. line .. '|' .. leader.model, 0, MAX_KEYS_OF_LINE - 1, 'WITHSCORES')
  for i = 1, #ready, 2 do
    if ready[i + 1] == 'inf' then return nil end
    for _, id in ipairs(redis.call('ZRANGE', lane_of(line, ready[i], leader.model), 0, MAX_OF_LANE - 1)) do
      if may_share(id, leader, part) then return id end
    end
  end
end

-- The next job that shares the run of a slot's job; nil when there is none. Jobs of a class that runs off-peak share it
-- only while no other job waits for the slot, as they would not get the slot either.
local function next_to_share(slot, leader, part)
  local lines, classes = {K.PIN .. slot, K.FRONT}, classes_by_turn(offer_name(slot), CLASS_WEIGHTS)
  for _, class in ipairs(classes) do table.insert(lines, class) end
  for _, line in ipairs(lines) do
    local id = first_to_share(line, leader, part)
    if id then return id end
  end
  for _, line in ipairs(lines) do
    if first_of_line(line, models_of(slot)) then return nil end
  end
  for _, line in ipairs({K.LATE_PIN .. slot, unpack(OFF_PEAK_CLASSES)}) do
    local id = first_to_share(line, leader, part)
    if id then return id end
  end
end

-- Let a waiting job share the run of a slot's job: it is running from now on. It is charged as any job that is bound.
local function join_leader(slot, id, leader_id)
  local leader = job_of(leader_id)
  dequeue(id)
  take_turn(id, slot)
  local attempt = int(job_of(id).attempt + 1)
  set_job(id, {slot = slot, attempt = attempt, assigned_at = int(now_ms()), leader = leader_id})
  add_companion(slot, id, attempt)
  start_attempt(id, slot, leader.device, leader.run)
end

-- The jobs of a run share its time, and none of them can give its slot back alone.
local function note_batch(slot, ids)
  for _, id in ipairs(ids) do
    unset_job(id, {'resumable'})
    set_job(id, {batch_size = int(#ids), not_resumable = 'it shares its run with other jobs'})
  end
  index_victim(slot)
end
