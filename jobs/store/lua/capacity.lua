-- What a service works on. `only_slot`: the service's only slot, or ''. `model`: what the next job needs, or ''.
-- Returns {how many more jobs would start at once, ids of active jobs, number of waiting jobs}
-- include: spare_capacity
local only_slot, model = unpack(ARGV)

return {spare_capacity(only_slot, model)}
