-- Let idle slots for which jobs may wait take one, at most `limit` of them. Returns 1 while there are more, else 0.
-- include: binding, memory
local limit = unpack(ARGV)
go_on_without_memory()

return fill_unfilled(limit)
