-- The slot has stopped working on an attempt that was cancelled or taken away from it. Returns bindings.
-- include: recovery
local id, attempt, slot = unpack(ARGV)

return release(slot, id, attempt)
