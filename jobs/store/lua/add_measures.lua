-- Add what a process measured to the measurements of all processes, and remove series without a measurement for
-- `kept_ms`.
-- `process`, `batch`: its name, and the number of the batch: one that is sent again is counted once.
-- `deltas`: series, numbers to add (`name:number name:number …`), ….
-- include: common, memory
local process, batch, kept_ms = unpack(ARGV)
local deltas = {unpack(ARGV, 4)}
go_on_without_memory()

-- At most this many old series are removed at once. A process that stops for longer than this repeats no batch.
local MAX_REMOVED, BATCH_MS = 100, 24 * 3600 * 1000

local function sum_of(text, more)
  local numbers, parts = {}, {}
  for name, number in (text .. ' ' .. more):gmatch('(%S+):(%S+)') do numbers[name] = (numbers[name] or 0) + number end
  for name, number in pairs(numbers) do parts[#parts + 1] = name .. ':' .. string.format('%.15g', number) end
  return table.concat(parts, ' ')
end

local last = K.BATCH .. process
if redis.call('GET', last) == batch then return end
redis.call('SET', last, batch, 'PX', BATCH_MS)
local now, series = now_ms(), {}
for i = 1, #deltas, 2 do series[#series + 1] = deltas[i] end
local known, sums, times = redis.call('HMGET', K.MEASURES, unpack(series)), {}, {}
for i, name in ipairs(series) do
  sums[2 * i - 1], sums[2 * i] = name, sum_of(known[i] or '', deltas[2 * i])
  times[2 * i - 1], times[2 * i] = int(now), name
end
redis.call('HSET', K.MEASURES, unpack(sums))
redis.call('ZADD', K.MEASURED, unpack(times))
local old = redis.call('ZRANGEBYSCORE', K.MEASURED, '-inf', int(now - kept_ms), 'LIMIT', 0, MAX_REMOVED)
if old[1] then
  redis.call('HDEL', K.MEASURES, unpack(old))
  redis.call('ZREM', K.MEASURED, unpack(old))
end
