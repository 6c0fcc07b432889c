-- ARGV: id, attempt, slot ('' in delivery), code, message. Returns {1|0, bindings}
local id, attempt = ARGV[1], ARGV[2]
local owned = owns(id, attempt, 'running') or owns(id, attempt, 'delivering')
if owned then fail(id, ARGV[4], ARGV[5]) end
return {owned and 1 or 0, release(ARGV[3], id, attempt)}
