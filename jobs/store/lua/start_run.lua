-- queued → running: a worker begins an attempt. `run` is unique to this execution: a repeated call with the same one
-- gets the same answer. `facts`: of the slot.
-- Returns the record as field, value, …, or 0 when this attempt may not run.
-- include: attempts, memory, offers, records, slots
local id, attempt, slot, owner, device, run = unpack(ARGV)
local facts = {unpack(ARGV, 7)}
go_on_without_memory()

if is_current(id, attempt, STATE.RUNNING) and job_of(id).run == run then return job_list(id) end
local record = slot_of(slot)
if record.owner ~= owner or record.job ~= id or record.attempt ~= attempt then return 0 end
if not is_current(id, attempt, STATE.QUEUED) then return 0 end
set_facts(slot, facts)
if facts[1] then index_slot(slot) end
start_attempt(id, slot, device, run)
return job_list(id)
