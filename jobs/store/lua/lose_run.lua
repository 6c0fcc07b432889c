-- The process that ran this attempt has died. Returns {the job's state now, bindings}
-- include: binding, common, records, recovery
local id, attempt = unpack(ARGV)

local slot = job_get(id, 'slot')
lose(id, attempt)
-- The job must be back in the queue before the slot looks for its next one.
local bindings = slot and release(slot, id, attempt) or {}
append_all(bindings, fill_idle_slots())
return {job_get(id, 'state') or '', bindings}
