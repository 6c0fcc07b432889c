-- Pause or resume a slot, or all of them ('*'). `pause`: '1' or '0'. Returns bindings.
-- include: binding
local slot, pause = unpack(ARGV)

if pause == '1' then
  redis.call('SADD', K.PAUSED, slot)
  return {}
end
redis.call('SREM', K.PAUSED, slot)
return fill_idle_slots()
