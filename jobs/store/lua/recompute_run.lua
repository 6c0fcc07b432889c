-- delivering → queued, or → failed after too many runs: the frames of this attempt are gone.
-- Returns {1 if the attempt was current else 0, bindings}
-- include: binding, outputs_lost, records
local id, attempt = unpack(ARGV)

if not is_current(id, attempt, STATE.DELIVERING) then return {0, {}} end
lose_frames(id)
return {1, fill_idle_slots()}
