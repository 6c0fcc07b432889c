-- delivering → queued, or → failed after too many runs: the frames of this attempt are gone.
-- include: binding, memory, outputs_lost, records
local id, attempt = unpack(ARGV)
go_on_without_memory()

if not is_current(id, attempt, STATE.DELIVERING) then return end
lose_frames(id)
offer_freed()
