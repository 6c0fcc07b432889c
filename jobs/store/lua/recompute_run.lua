-- delivering → queued, or → failed after too many runs: the frames of this attempt are gone.
-- include: binding, outputs_lost, records
local id, attempt = unpack(ARGV)

if not is_current(id, attempt, STATE.DELIVERING) then return end
lose_frames(id)
fill_idle_slots()
