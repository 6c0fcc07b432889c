-- The process that ran this attempt has died. Returns {the job's state now or '', ms since it was cancelled or -1}
-- include: binding, memory, records, recovery
local id, attempt = unpack(ARGV)
go_on_without_memory()

local slot = job_of(id).slot
if lose(id, attempt) then redis.call('HINCRBY', K.COUNTERS, 'lost_runs', 1) end
if slot and slot_of(slot).job == id and slot_of(slot).attempt == attempt then lose_companions(slot) end
-- The job must be back in the queue before the slot looks for its next one.
local stopped_ms = slot and release(slot, id, attempt) or -1
offer_freed()
return {job_of(id).state or '', stopped_ms}
