-- A worker takes a slot. `takeover`: '1' when the old owner is known to be dead. `facts`: of the slot.
-- Returns {'ok'} | {'held', owner, ms until its lease lapses}
-- include: binding, common, memory, offers, records, recovery
local slot, owner, takeover = unpack(ARGV)
local facts = {unpack(ARGV, 4)}
go_on_without_memory()

local record, now = slot_of(slot), now_ms()
local old_owner, job, attempt = record.owner, record.job, record.attempt
if has(old_owner) and old_owner ~= owner and takeover ~= '1' then
  local left_ms = tonumber(redis.call('ZSCORE', K.LEASES, slot) or 0) - now
  if left_ms > 0 and not has(record.suspect_at) then return {'held', old_owner, left_ms} end
end
lose_companions(slot)
remove_slot(slot)
new_record(K.SLOT .. slot, table_of(facts), facts)
set_slot(slot, {owner = owner, since = int(now)})
redis.call('SADD', K.SLOTS, slot)
redis.call('ZADD', K.LEASES, int(now + CFG.lease_ms), slot)
if has(job) then lose(job, attempt) end
fill_slot(slot)
offer_freed()
return {'ok'}
