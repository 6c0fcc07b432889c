-- A worker is about to stop: its slot takes no new job. Returns the job that still runs, or ''.
-- include: memory, offers, records
local slot, owner = unpack(ARGV)
go_on_without_memory()

if slot_of(slot).owner ~= owner then return '' end
set_slot(slot, {draining = '1'})
index_slot(slot)
return slot_of(slot).job or ''
