-- ARGV: the service's only slot or '', a model or ''.
-- Returns {how many more jobs would start at once, ids it works on, number of jobs that wait for it}
local more, active, waiting = room(ARGV[1], ARGV[2])
return {more, active, waiting}
