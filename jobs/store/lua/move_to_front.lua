-- Let a waiting job go before all others. Returns 'moved', 'unknown' or the job's state.
-- include: binding, common, events, memory, queue, records
local id = unpack(ARGV)
go_on_without_memory()

local PINNED_PRIORITY = 1000  -- a pinned job goes to the front of its slot's lane: above every priority of a request
local record = job_of(id)
if not record.state then return 'unknown' end
if record.state ~= STATE.QUEUED or has(record.slot) then return record.state end
dequeue(id)
local pin = pin_of(record.line)
set_job(id, pin and {line = K.PIN .. pin, priority = PINNED_PRIORITY} or {line = K.FRONT})
enqueue(id)
emit(id)
offer_job(id)
return 'moved'
