-- Add a warning about a run to its job. `text`: one sentence. The same one is not added twice.
-- include: common, memory, records
local id, attempt, text = unpack(ARGV)
go_on_without_memory()

if not is_current(id, attempt, STATE.RUNNING) then return end
local known = job_of(id).run_warnings
local list = has(known) and cjson.decode(known) or {}
if not set_of(list)[text] and #list < 20 then
  table.insert(list, text)
  set_job(id, {run_warnings = cjson.encode(list)})
end
