-- Pause or resume a slot, or all of them ('*'). `pause`: '1' or '0'. After a resume of all, fill_slots does the rest.
-- `yields`: '1' when the slot is to give up the memory of its device until it is resumed.
-- include: binding, memory, offers
local slot, pause, yields = unpack(ARGV)
go_on_without_memory()

redis.call(pause == '1' and 'SADD' or 'SREM', K.PAUSED, slot)
if yields == '1' then redis.call('SADD', K.YIELDED, slot) end
if pause ~= '1' then redis.call('SREM', K.YIELDED, slot) end
if slot == K.ALL and pause ~= '1' then
  refill_idle_slots()
elseif slot ~= K.ALL then
  if pause == '1' then index_slot(slot) else fill_slot(slot) end
end
return 1
