-- Ask the run of a job to give its slot back after its present step (`why`: one of INTERRUPT).
-- Returns 1 if it will stop for this reason, else 0.
-- include: interrupts, memory
local id, why = unpack(ARGV)
go_on_without_memory()

return interrupt_run(id, why) and 1 or 0
