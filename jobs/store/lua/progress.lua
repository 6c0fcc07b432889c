-- ARGV: id, attempt, stage, step, steps, eta_s ('' when unknown), percent of the stage ('' when it has none of its own).
-- Returns 0 when the attempt is over, 1 to go on, 2 to go on while somebody asks for previews.
local id = ARGV[1]
if not owns(id, ARGV[2], 'running') then return 0 end
redis.call('HSET', K.JOB .. id, 'stage', ARGV[3], 'step', ARGV[4], 'steps', ARGV[5], 'eta_s', ARGV[6])
if has(ARGV[7]) then
  redis.call('HSET', K.JOB .. id, 'stage_percent', ARGV[7])
else
  redis.call('HDEL', K.JOB .. id, 'stage_percent')
end
emit(id)
return 1 + redis.call('EXISTS', K.PREVIEW_WANTED .. id)
