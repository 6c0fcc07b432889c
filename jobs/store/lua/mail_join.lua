-- A socket of a service opens. ARGV: key, owner (its web process), lease of that process in ms, '1' to take what other
-- sockets left, '0' to take only what died with its process, '1' for a mailbox in any case.
-- Returns the names of the mailboxes that are its own from now on.
local key, owner, now = ARGV[1], ARGV[2], now_ms()
redis.call('ZADD', K.WEBS, int(now + ARGV[3]), owner)
local all, mine = redis.call('HGETALL', K.MAILBOXES .. key), {}
for i = 1, #all, 2 do
  local left = all[i + 1] == ''
  local lease = not left and redis.call('ZSCORE', K.WEBS, all[i + 1])
  if (left and ARGV[4] == '1') or (not left and (not lease or tonumber(lease) < now)) then
    table.insert(mine, all[i])
  end
end
if #mine == 0 and ARGV[5] == '1' then
  mine[1] = int(redis.call('HINCRBY', K.COUNTERS, 'mailboxes', 1))
end
for _, mailbox in ipairs(mine) do redis.call('HSET', K.MAILBOXES .. key, mailbox, owner) end
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', K.WEBS, '-inf', int(now - 60000))) do redis.call('ZREM', K.WEBS, dead) end
return mine
