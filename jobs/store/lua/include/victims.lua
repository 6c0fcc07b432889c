-- Runs that jobs of higher classes may interrupt, and the slots of those that were: each is reserved for a lane of
-- waiting jobs. The record of a slot says where its run is indexed (`victim`) and for which lane it is `reserved`.
-- include: common, records, slots

-- A run is not interrupted in its last steps: this part of all.
local LAST_PART = 0.2

-- Whether jobs of a higher class may interrupt the present run of a job.
local function is_preemptible(record)
  return PREEMPTIBLE[record.class] and record.state == STATE.RUNNING and record.resumable == '1'
    and not has(record.interrupt) and record.line ~= K.FRONT
    and tonumber(record.preemptions or 0) < CFG.preempt_max
    and tonumber(record.step or 0) < (1 - LAST_PART) * tonumber(record.steps or 1)
end

-- Bring the indexes of preemptible runs up to date after anything about a slot or its run has changed. The highest
-- score is the best victim: of those that were preempted least often, the one that began last.
local function index_victim(slot)
  local record, names, score = slot_of(slot), {}, nil
  local job = next(PREEMPTIBLE) and record.standing == USABLE and has(record.job) and job_of(record.job)
  if job and is_preemptible(job) then
    score = int(job.started_at - 1e13 * (job.preemptions or 0))
    names[1] = K.VICTIMS .. job.class .. '|' .. record.offer
    for model, _ in pairs(warm_models(slot)) do
      names[#names + 1] = K.WARM_VICTIMS .. job.class .. '|' .. model
    end
  end
  table.sort(names)
  local text = score and score .. ',' .. table.concat(names, ',')
  if record.victim == text then return end
  for name in string.gmatch((record.victim or ''):match(',(.*)') or '', '[^,]+') do redis.call('ZREM', name, slot) end
  for _, name in ipairs(names) do redis.call('ZADD', name, score, slot) end
  if score then set_slot(slot, {victim = text}) else unset_slot(slot, {'victim'}) end
end

-- The number of slots that are reserved for a lane.
local function reserved_for(lane)
  return redis.call('SCARD', K.RESERVED .. lane)
end

local function reserve(slot, lane)
  set_slot(slot, {reserved = lane})
  redis.call('SADD', K.RESERVED .. lane, slot)
end

-- A slot is not reserved any more. Its run goes on, unless it has stopped already.
local function unreserve(slot)
  local record = slot_of(slot)
  if not record.reserved then return end
  redis.call('SREM', K.RESERVED .. record.reserved, slot)
  unset_slot(slot, {'reserved'})
  if has(record.job) and job_of(record.job).interrupt == INTERRUPT.PREEMPT then
    unset_job(record.job, {'interrupt'})
    index_victim(slot)
  end
end

-- A job gives its slot to one of a higher class.
local function note_preemption(id)
  set_job(id, {preemptions = int((job_of(id).preemptions or 0) + 1), preempted = '1'})
end
