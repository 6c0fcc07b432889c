-- A web process takes over queues of a service: those of processes that died, and on request those that closed sockets
-- left. `take_left`: '1' to take the latter. `create`: '1' to create a queue when there is none to take.
-- Returns the names of the queues that this process serves from now on.
-- include: common
local key, owner, lease_ms, take_left, create = unpack(ARGV)

local FORGET_AFTER_MS = 60000
local now, queues = now_ms(), {}
redis.call('ZADD', K.WEB_PROCESSES, int(now + lease_ms), owner)
local owners = redis.call('HGETALL', K.SUBSCRIBER_QUEUES .. key)
for i = 1, #owners, 2 do
  local is_left = owners[i + 1] == ''
  local lease_until = not is_left and redis.call('ZSCORE', K.WEB_PROCESSES, owners[i + 1])
  local is_dead = not is_left and (not lease_until or tonumber(lease_until) < now)
  if is_dead or (is_left and take_left == '1') then table.insert(queues, owners[i]) end
end
if #queues == 0 and create == '1' then queues[1] = int(redis.call('HINCRBY', K.COUNTERS, 'mailboxes', 1)) end
for _, queue in ipairs(queues) do redis.call('HSET', K.SUBSCRIBER_QUEUES .. key, queue, owner) end
redis.call('ZREMRANGEBYSCORE', K.WEB_PROCESSES, '-inf', int(now - FORGET_AFTER_MS))
return queues
