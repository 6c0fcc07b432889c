-- The slot has stopped working on an attempt that was cancelled or taken away from it.
-- include: recovery
local id, attempt, slot = unpack(ARGV)

release(slot, id, attempt)
