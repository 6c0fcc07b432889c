-- Write facts of a slot; neither its lease nor its job changes. Returns 1, or 0 when `owner` does not hold the slot.
-- include: memory, offers, records, slots
local slot, owner = unpack(ARGV)
local facts = {unpack(ARGV, 3)}
go_on_without_memory()

if slot_of(slot).owner ~= owner then return 0 end
set_facts(slot, facts)
index_slot(slot)
return 1
