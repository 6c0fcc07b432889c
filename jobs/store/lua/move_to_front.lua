-- Let a waiting job go before all others. Returns 'moved', 'unknown' or the job's state.
-- include: binding, common, events, memory, queue
local id = unpack(ARGV)
go_on_without_memory()

local PINNED_PRIORITY = 1000  -- a pinned job goes to the front of its slot's lane: above every priority of a request
local state, slot, model, lane = unpack(redis.call('HMGET', K.JOB .. id, 'state', 'slot', 'model', 'lane'))
if not state then return 'unknown' end
if state ~= STATE.QUEUED or has(slot) then return state end
dequeue(id)
if lane:sub(1, 1) == K.PIN then
  redis.call('HSET', K.JOB .. id, 'priority', PINNED_PRIORITY)
else
  redis.call('HSET', K.JOB .. id, 'lane', K.FRONT .. model)
end
enqueue(id)
emit(id)
fill_idle_slots(model)
return 'moved'
