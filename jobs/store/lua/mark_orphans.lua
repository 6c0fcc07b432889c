-- Of objects in the object store, let those be removed that no job needs.
-- Returns the names that were marked; one that ends in '/' stands for all objects below it.
-- include: common, files, records
local names = ARGV

-- What to remove because of this object; false when something needs it.
local function orphan_of(name)
  if is_input(name) then return not is_kept(name) and not is_used(name) and name end
  local checkpointed = name:match('^' .. K.CHECKPOINT_OBJECTS .. '([^/]+)/')
  if checkpointed then
    local state_now = redis.call('HGET', K.JOB .. checkpointed, 'state')
    return (not state_now or is_over(state_now)) and checkpoints_of(checkpointed)
  end
  -- Files of a delivery are stored in a folder of their own, <attempt>.<delivery>.
  local id, delivery = name:match('^' .. K.OUTPUT_OBJECTS .. '([^/]+)/([^/]+/)')
  if not id then return false end
  local state, outputs = unpack(redis.call('HMGET', K.JOB .. id, 'state', 'outputs'))
  if not state then return outputs_of(id) end
  local folder = outputs_of(id) .. delivery
  local is_published = (outputs or ''):find('"' .. folder, 1, true)
  return is_over(state) and delivery:find('^%d+%.%d+/$') and not is_published and folder
end

local now, orphans = now_ms(), {}
for _, name in ipairs(names) do
  local orphan = orphan_of(name)
  if orphan and redis.call('ZADD', K.DUE, 'NX', int(now), orphan) == 1 then table.insert(orphans, orphan) end
end
return orphans
