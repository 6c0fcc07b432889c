-- The process that ran this attempt has died. Returns the job's state now, or ''.
-- include: binding, memory, records, recovery
local id, attempt = unpack(ARGV)
go_on_without_memory()

local slot = job_of(id).slot
lose(id, attempt)
-- The job must be back in the queue before the slot looks for its next one.
if slot then release(slot, id, attempt) end
offer_freed()
return job_of(id).state or ''
