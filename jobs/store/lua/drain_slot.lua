-- A worker is about to stop: its slot takes no new job. Renews the lease, as the job may run for longer than it lasts.
-- Returns the job that still runs, or ''.
-- include: memory, offers, records, slots
local slot, owner = unpack(ARGV)
go_on_without_memory()

if slot_of(slot).owner ~= owner then return '' end
renew_lease(slot)
set_slot(slot, {draining = '1'})
unset_slot(slot, {'suspect_at'})
index_slot(slot)
return slot_of(slot).job or ''
