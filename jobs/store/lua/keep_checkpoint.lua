-- A run has stored a checkpoint. `step`: finished steps of the job. `age_ms`: time since the end of that step. `node`:
-- the host that has the file. `key`: its name in the object store, or ''.
-- Returns 1 if the attempt is current, else 0.
-- include: common, memory, records
local id, attempt, step, age_ms, node, key = unpack(ARGV)
go_on_without_memory()

if not is_current(id, attempt, STATE.RUNNING) then return 0 end
set_job(id, {checkpoint = cjson.encode({
  step = tonumber(step), attempt = tonumber(attempt), at_ms = now_ms() - age_ms, node = node, key = key,
})})
return 1
