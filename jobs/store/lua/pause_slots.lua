-- Pause or resume a slot, or all of them ('*'). `pause`: '1' or '0'.
-- include: binding
local slot, pause = unpack(ARGV)

if pause == '1' then
  redis.call('SADD', K.PAUSED, slot)
else
  redis.call('SREM', K.PAUSED, slot)
  fill_idle_slots()
end
