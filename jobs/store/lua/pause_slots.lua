-- Pause or resume a slot, or all of them ('*'). `pause`: '1' or '0'.
-- include: binding, memory
local slot, pause = unpack(ARGV)
go_on_without_memory()

if pause == '1' then
  redis.call('SADD', K.PAUSED, slot)
else
  redis.call('SREM', K.PAUSED, slot)
  fill_idle_slots()
end
