-- Whose turn it is: how much each class and key was given (K.SERVED).
--
-- Between classes: stride scheduling. Each job taken moves the "pass" of its class on by the stride of the class, which
-- is the smaller the heavier the class. The class with the smallest pass is next.
-- Within a class: start-time fair queueing over API keys, by the GPU seconds that each key was served.
-- include: records

local turns = {}

-- Read these numbers at once.
local function read_turns(names)
  local values = redis.call('HMGET', K.SERVED, unpack(names))
  for i, name in ipairs(names) do turns[name] = turns[name] or tonumber(values[i] or 0) end
end

local function turn_of(name)
  if not turns[name] then read_turns({name}) end
  return turns[name]
end

local function set_turn(name, value)
  turns[name] = value
  write_field(K.SERVED, name, string.format('%.6f', value))
end

-- GPU seconds that a key was served in a class.
local function served_of(class, key)
  return turn_of(class .. '|' .. key)
end

-- Strides are whole numbers, so that equal passes compare as equal.
local function stride_of(class)
  local product = 1
  for _, weight in pairs(CLASS_WEIGHTS) do product = product * weight end
  return product / (CLASS_WEIGHTS[class] or 1)
end

-- The pass of a class, at least that of the class that was taken last: turns that a class did not use, because nothing
-- of it waited for the slots that were free, are not saved up.
local function pass_of(class)
  return math.max(turn_of('pass:' .. class), turn_of('pass'))
end

-- A class has its turn.
local function pass_on(class)
  local pass = pass_of(class)
  set_turn('pass', pass)
  set_turn('pass:' .. class, pass + stride_of(class))
end

-- Whether a class goes before another one when their passes are equal.
local function wins_tie(class, other)
  local weight, other_weight = CLASS_WEIGHTS[class], CLASS_WEIGHTS[other]
  if weight ~= other_weight then return weight > other_weight end
  return class < other
end
