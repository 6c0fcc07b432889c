-- A worker is about to stop: its slot takes no new job, and its run is asked to give the slot back if it can be
-- resumed. Renews the lease, as the job may run for longer than it lasts.
-- Returns {the job that still runs, or '', 1 if its run is to give the slot back}
-- include: interrupts, memory, offers, records, slots
local slot, owner = unpack(ARGV)
go_on_without_memory()

if slot_of(slot).owner ~= owner then return {'', 0} end
renew_lease(slot)
set_slot(slot, {draining = '1'})
unset_slot(slot, {'suspect_at'})
index_slot(slot)
local id = slot_of(slot).job
if not id then return {'', 0} end
return {id, (interrupt_run(id, INTERRUPT.DRAIN) or job_of(id).interrupt) and 1 or 0}
