-- running or delivering → failed. Frees the slot ('' for a delivery) in any case.
-- `cause`: what a library said, which may name paths of the host; '' for nothing.
-- Returns {1 if the attempt was current, else 0, ms since it was cancelled or -1}
-- include: common, lifecycle, memory, records, recovery
local id, attempt, slot, code, message, cause = unpack(ARGV)
go_on_without_memory()

local is_live = is_current(id, attempt, STATE.RUNNING) or is_current(id, attempt, STATE.DELIVERING)
if is_live then
  if has(cause) then set_job(id, {cause = cause}) end
  fail(id, code, message)
end
local stopped_ms = release(slot, id, attempt)
return {is_live and 1 or 0, stopped_ms}
