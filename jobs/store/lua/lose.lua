-- The process that ran this attempt died. ARGV: id, attempt. Returns {state now, bindings}
local id, attempt = ARGV[1], ARGV[2]
local slot = job_get(id, 'slot')
lose(id, attempt)
-- The job is back in its place before the slot looks for its next one.
local bindings = slot and release(slot, id, attempt) or {}
for _, binding in ipairs(feed_idle()) do table.insert(bindings, binding) end
return {job_get(id, 'state') or '', bindings}
