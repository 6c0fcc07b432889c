-- A host announces that it has a delivery worker, for the duration of a lease.
-- include: common, memory
local node = unpack(ARGV)
go_on_without_memory()

redis.call('ZADD', K.NODES, (now_ms() + CFG.lease_ms) / 1000, node)
