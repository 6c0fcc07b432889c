-- Bring the data of version 0.2 or older up to date, once: index its waiting jobs and its slots. It takes about a tenth
-- of a second for a thousand waiting jobs.
-- Returns 0, or the layout of the data if it is newer than this one: then nothing is changed.
-- include: common, memory, offers, queue, records
local layout = unpack(ARGV)
go_on_without_memory()

local present = tonumber(redis.call('GET', K.LAYOUT) or 0)
if present == tonumber(layout) then return 0 end
if present > tonumber(layout) then return present end

-- Counters, and indexes that are not used any more; `lane` was a field of waiting jobs.
redis.call('DEL', K.WAITING, K.WORK, K.OLD_IDLE)
for class, _ in pairs(CLASS_WEIGHTS) do redis.call('DEL', K.OLD_FAIR .. class) end

for _, id in ipairs(redis.call('ZRANGE', K.STATE .. STATE.QUEUED, 0, -1)) do
  local record = job_of(id)
  if record.line and not has(record.slot) then
    if not redis.call('ZSCORE', K.NOT_BEFORE, id) then add_to_counters(record) end
  elseif record.lane then
    redis.call('ZREM', K.LANE .. record.lane, id)
    redis.call('DEL', K.OLD_MODELS .. record.class .. '|' .. record.key)
    local first = record.lane:sub(1, 1)
    local line = first == K.PIN and record.lane or first == K.FRONT and K.FRONT or record.class
    set_job(id, {line = line})
    unset_job(id, {'lane'})
    if not has(record.slot) then enqueue(id) end
  end
end
for _, slot in ipairs(redis.call('SMEMBERS', K.SLOTS)) do index_slot(slot) end
redis.call('SET', K.LAYOUT, layout)
return 0
