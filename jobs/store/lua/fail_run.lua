-- running or delivering → failed. Frees the slot ('' for a delivery) in any case.
-- Returns 1 if the attempt was current, else 0.
-- include: lifecycle, memory, records, recovery
local id, attempt, slot, code, message = unpack(ARGV)
go_on_without_memory()

local is_live = is_current(id, attempt, STATE.RUNNING) or is_current(id, attempt, STATE.DELIVERING)
if is_live then fail(id, code, message) end
release(slot, id, attempt)
return is_live and 1 or 0
