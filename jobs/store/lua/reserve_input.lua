-- Name the object for an input image that is about to be stored, and keep it from being removed until the job that
-- needs it can be submitted. `token`: never used before; it makes the name of a new object unique.
-- Returns the name: of the object that holds this content already, or of a new one.
-- include: common
local sha256, token, ending = unpack(ARGV)

local name = redis.call('HGET', K.INPUTS, sha256)
if not name then
  name = K.INPUT_OBJECTS .. sha256 .. '.' .. token .. '.' .. ending
  redis.call('HSET', K.INPUTS, sha256, name)
end
redis.call('ZADD', K.DUE, 'GT', int(now_ms() + CFG.files_grace_ms), name)
return name
