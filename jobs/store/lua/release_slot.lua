-- The slot has stopped working on an attempt that was cancelled or taken away from it.
-- include: memory, recovery
local id, attempt, slot = unpack(ARGV)
go_on_without_memory()

release(slot, id, attempt)
