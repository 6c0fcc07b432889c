-- The slot has stopped working on an attempt that was cancelled or taken away from it. Returns the time since it was
-- cancelled in ms, or -1.
-- include: memory, recovery
local id, attempt, slot = unpack(ARGV)
go_on_without_memory()

return release(slot, id, attempt)
