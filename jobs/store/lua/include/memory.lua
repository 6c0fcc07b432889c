-- Redis at its memory limit.

-- Let this script write even if Redis is above `maxmemory`: for work that was accepted before, which must end to make
-- room. Redis compares its memory with the limit before the first write of a script only, and lets a DEL pass.
local function go_on_without_memory()
  redis.call('DEL', K.NOTHING)
end
