-- What each API key used, by day (UTC) and model, for USAGE_DAYS. Model commands are not counted.
-- include: common, rates, records

local DAY_MS = 86400000
-- Days that share a hash, which expires as a whole.
local PERIOD_DAYS = 30
-- Keys that are forgotten in one call.
local MOST_FORGOTTEN = 100

-- Numbers of a day and model in the order of jobs/store/statistics/usage.py, separated by spaces.
local USED = {gpu_s = 1, lost_gpu_s = 2, succeeded = 3, failed = 4, cancelled = 5, expired = 6, images = 7, videos = 8,
  video_s = 9, bytes = 10}
local USED_NUMBERS = 10

-- What this script has read or changed, by hash and field.
local numbers_today = {}

-- The numbers of a key of today and a model. Their hash is kept from the first ones of each day and model on.
local function used_today(name, field, key)
  if numbers_today[name .. field] then return numbers_today[name .. field] end
  local numbers, text = {}, redis.call('HGET', name, field)
  for number in (text or ''):gmatch('%S+') do numbers[#numbers + 1] = number end
  for i = 1, USED_NUMBERS do numbers[i] = numbers[i] or '0' end
  numbers_today[name .. field] = numbers
  if not text then
    redis.call('HSET', name, field, table.concat(numbers, ' '))
    redis.call('PEXPIRE', name, int(CFG.usage_ms + PERIOD_DAYS * DAY_MS))
    redis.call('ZADD', K.USAGE_KEYS, int(now_ms()), key)
  end
  return numbers
end

-- Add numbers, by their names, to what the key of a job used today.
local function add_usage(record, added)
  if CFG.usage_ms == 0 or has(record.command) then return end
  local day = math.floor(now_ms() / DAY_MS)
  local name = K.USAGE .. record.key .. ':' .. int(math.floor(day / PERIOD_DAYS))
  local field = int(day) .. '|' .. record.model
  local numbers = used_today(name, field, record.key)
  for what, number in pairs(added) do
    if number ~= 0 then numbers[USED[what]] = string.format('%.14g', numbers[USED[what]] + number) end
  end
  write_field(name, field, table.concat(numbers, ' '))
end

-- Forget some of the keys whose numbers have expired.
local function forget_usage_keys()
  local expired = int(now_ms() - CFG.usage_ms - PERIOD_DAYS * DAY_MS)
  local keys = redis.call('ZRANGEBYSCORE', K.USAGE_KEYS, '-inf', expired, 'LIMIT', 0, MOST_FORGOTTEN)
  if keys[1] then redis.call('ZREM', K.USAGE_KEYS, unpack(keys)) end
end

-- The files of a job that has succeeded.
local function made_by(record)
  local made = {images = 0, videos = 0, video_s = 0, bytes = 0}
  for _, output in ipairs(cjson.decode(has(record.outputs) and record.outputs or '[]')) do
    for _, file in pairs({output, output.thumbnail, output.poster}) do made.bytes = made.bytes + file.bytes end
    if output.media_type:sub(1, 6) == 'video/' then
      made.videos = made.videos + 1
      if output.fps and output.fps > 0 then made.video_s = made.video_s + (output.frames or 1) / output.fps end
    elseif output.media_type:sub(1, 6) == 'image/' then
      made.images = made.images + 1
    end
  end
  return made
end

-- The work of a run was lost, with its worker or before it could be stored. `seconds`: since its start.
local function add_lost_run(record, seconds)
  if record.state == STATE.RUNNING then
    local share = share_s(record, seconds)
    add_usage(record, {gpu_s = share, lost_gpu_s = share})
  elseif record.state == STATE.DELIVERING then
    add_usage(record, {lost_gpu_s = share_s(record, record.run_s)})  -- its seconds were counted when it ended
  end
end

-- A job has ended in this state.
local function add_ended(record, state)
  local added = state == STATE.SUCCEEDED and made_by(record) or {}
  added[state] = 1
  add_usage(record, added)
end
