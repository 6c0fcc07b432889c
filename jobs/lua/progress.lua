-- ARGV: id, attempt, stage, step, steps, eta_s ('' when unknown).
-- Returns 0 when the attempt is over, 1 to go on, 2 to go on while somebody asks for previews.
local id = ARGV[1]
if not owns(id, ARGV[2], 'running') then return 0 end
redis.call('HSET', K.JOB .. id, 'stage', ARGV[3], 'step', ARGV[4], 'steps', ARGV[5], 'eta_s', ARGV[6])
emit(id)
return 1 + redis.call('EXISTS', K.PREVIEW_WANTED .. id)
