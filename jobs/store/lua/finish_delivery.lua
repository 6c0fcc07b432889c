-- delivering → succeeded: the outputs (JSON) are stored, publish them.
-- Returns {1, or 0 when the attempt or the delivery is not current: its files are then removed; the model, or '' if
--   this call did not publish; ms since the run ended}. A repeated call gets the same first value.
-- include: common, delivery_problems, files, lifecycle, memory, records
local id, attempt, owner, outputs = unpack(ARGV)
go_on_without_memory()
reported_id = id

if is_current(id, attempt, STATE.SUCCEEDED) and job_of(id).outputs == outputs then return {1, '', 0} end
if not is_current(id, attempt, STATE.DELIVERING) or job_of(id).delivery_owner ~= owner then
  for _, output in ipairs(cjson.decode(outputs)) do
    for _, file in pairs({output, output.thumbnail, output.poster}) do remove_at(file.key, now_ms()) end
  end
  return {0, '', 0}
end
local record = job_of(id)
object_store_is_back(record.node)
set_job(id, {outputs = outputs})
-- The newest file of a path replaces an earlier one, as it would on a disk. The earlier job keeps its output.
if has(record.path) then redis.call('SET', K.FILE .. record.key .. ':' .. record.path, id) end
finish(id, STATE.SUCCEEDED)
return {1, record.model or '', now_ms() - (record.computed_at or now_ms())}
