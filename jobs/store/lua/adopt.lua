-- Stored objects that were found: those that nothing knows are to be removed. ARGV: their names.
-- Returns what will be removed; a name that ends in '/' is all below it.
local now, orphans = now_ms(), {}

local function orphan(name)
  if name:sub(1, #K.INPUT_OBJECTS) == K.INPUT_OBJECTS then
    return not is_kept(name) and redis.call('HEXISTS', K.INPUT_USES, name) == 0 and name
  end
  local id, delivery = name:match('^' .. K.OUTPUT_OBJECTS .. '([^/]+)/([^/]+/)')
  if not id then return false end
  local record = redis.call('HMGET', K.JOB .. id, 'state', 'outputs')
  if not record[1] then return outputs_of(id) end
  -- A delivery that was not the one published. Its files are in a folder of its own, <attempt>.<delivery>.
  local folder = outputs_of(id) .. delivery
  local published = (record[2] or ''):find('"' .. folder, 1, true)
  return is_over(record[1]) and delivery:find('^%d+%.%d+/$') and not published and folder
end

for _, name in ipairs(ARGV) do
  local found = orphan(name)
  if found and redis.call('ZADD', K.DUE, 'NX', int(now), found) == 1 then table.insert(orphans, found) end
end
return orphans
