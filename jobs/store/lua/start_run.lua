-- queued → running: a worker begins an attempt. `run` is unique to this execution: a repeated call with the same one
-- gets the same answer. `facts`: of the slot.
-- Returns the record (JSON), or '' when this attempt may not run.
-- include: attempts, memory, records
-- on demand: add_notice, add_webhook_delivery, renew_lease
local id, attempt, slot, owner, device, run = unpack(ARGV)
local facts = {unpack(ARGV, 7)}
go_on_without_memory()

if is_current(id, attempt, STATE.RUNNING) and job_of(id).run == run then return cjson.encode(job_of(id)) end
local name = K.SLOT .. slot
local slot_owner, job, job_attempt = unpack(redis.call('HMGET', name, 'owner', 'job', 'attempt'))
if slot_owner ~= owner or job ~= id or job_attempt ~= attempt then return '' end
if not is_current(id, attempt, STATE.QUEUED) then return '' end
for i = 1, #facts, 2 do write_field(name, facts[i], facts[i + 1]) end
start_attempt(id, slot, device, run)
return cjson.encode(job_of(id))
