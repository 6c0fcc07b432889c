-- Companions: jobs that share the run of the job that a slot holds, its leader. The record of the slot lists them in
-- `companions`, as "<job> <attempt>,…", and each names its `leader` while it is listed. A companion has an attempt of
-- its own, reports and ends by itself, and is lost with the slot. The slot is free when its leader is released.
-- include: records

-- The companions of a slot's job, as {job, attempt}.
local function companions_of(slot)
  local found = {}
  for id, attempt in string.gmatch(slot_of(slot).companions or '', '([^ ,]+) (%d+)') do
    table.insert(found, {id, attempt})
  end
  return found
end

local function add_companion(slot, id, attempt)
  local listed = slot_of(slot).companions
  set_slot(slot, {companions = (listed and listed .. ',' or '') .. id .. ' ' .. attempt})
end

-- Take an attempt off the list. Returns whether it was listed.
local function remove_companion(slot, id, attempt)
  local others, is_listed = {}, false
  for _, companion in ipairs(companions_of(slot)) do
    if companion[1] == id and companion[2] == tostring(attempt) then
      is_listed = true
    else
      table.insert(others, companion[1] .. ' ' .. companion[2])
    end
  end
  if not is_listed then return false end
  unset_job(id, {'leader'})
  if others[1] then
    set_slot(slot, {companions = table.concat(others, ',')})
  else
    unset_slot(slot, {'companions'})
  end
  return true
end
