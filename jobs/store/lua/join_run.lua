-- The run of a slot's job is about to compute: waiting jobs that differ from it in texts and seed only share it. None
-- do if the slot takes no new job, or the run is to end. `most`: number of jobs in all.
-- Returns them as {job, its record (JSON), …}: a repeated call returns the same.
-- include: common, companions, memory, records, sharing, slots
local id, attempt, slot, most = unpack(ARGV)
go_on_without_memory()

local function takes_others()
  local leader, holder = job_of(id), slot_of(slot)
  return is_shareable(leader) and not has(leader.interrupt) and not has(holder.companions) and not has(holder.reserved)
    and not obstacle_of(slot) and not is_paused(K.ALL)
end

local function take_others()
  local leader, ids = job_of(id), {id}
  local part = common_part(leader)
  while #ids < tonumber(most) do
    local other = next_to_share(slot, leader, part)
    if not other then break end
    join_leader(slot, other, id)
    table.insert(ids, other)
  end
  if ids[2] then note_batch(slot, ids) end
end

if not is_current(id, attempt, STATE.RUNNING) or slot_of(slot).job ~= id then return {} end
if takes_others() then take_others() end
local answer = {}
for _, companion in ipairs(companions_of(slot)) do
  table.insert(answer, companion[1])
  table.insert(answer, cjson.encode(job_of(companion[1])))
end
return answer
