-- ARGV: slot or '*', '1' to pause or '0' to resume. Returns bindings.
if ARGV[2] == '1' then
  redis.call('SADD', K.PAUSED, ARGV[1])
  return {}
end
redis.call('SREM', K.PAUSED, ARGV[1])
return feed_idle()
