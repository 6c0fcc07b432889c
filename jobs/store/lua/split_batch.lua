-- Jobs that shared the run of a slot's job could not be computed together: the others go back to their places in the
-- queue, and this one goes on alone. None of them shares a run again. These runs do not count as lost ones.
-- include: binding, common, memory, records, recovery
local id, attempt, slot = unpack(ARGV)
go_on_without_memory()

if slot_of(slot).job ~= id or slot_of(slot).attempt ~= attempt then return end
give_back_companions(slot)
if has(job_of(id).batch_size) then
  unset_job(id, {'batch_size', 'not_resumable'})
  set_job(id, {alone = '1'})
end
offer_freed()
