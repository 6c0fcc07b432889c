-- Whose turn it is at the slots of an offer: what each class and key was given (K.SERVED), in GPU seconds.
--
-- Between classes: stride scheduling. Each job taken moves the "pass" of its class on, by its seconds over the weight
-- of the class. The class with the smallest pass is next. What a class is given at slots of other offers moves its pass
-- here too, but is forgotten by and by: the passes of two offers rise at different speeds, so a class that was ahead
-- there would wait here long after its jobs there are done.
-- Classes that run off-peak take no turns: they get what the others leave.
-- Within a class: start-time fair queueing over API keys (include/fairness.lua).
-- include: offers, records

-- What a class was given elsewhere is forgotten by this share with each job taken here. Less of it, and the classes get
-- unequal shares of single groups of slots; more, and they get unequal shares of all of them.
local FORGOTTEN = 0.15

local turns, passes = {}, {}

-- Read these numbers at once.
local function read_turns(names)
  local unknown = {}
  for _, name in ipairs(names) do
    if not turns[name] then unknown[#unknown + 1] = name end
  end
  if not unknown[1] then return end
  local values = redis.call('HMGET', K.SERVED, unpack(unknown))
  for i, name in ipairs(unknown) do turns[name] = tonumber(values[i] or 0) end
end

local function turn_of(name)
  if not turns[name] then read_turns({name}) end
  return turns[name]
end

-- Numbers are compared as they are stored, with six decimals, so that equal ones compare as equal.
local function set_turn(name, value)
  local rounded = value > 0 and math.floor(value * 1e6 + 0.5) / 1e6 or 0
  turns[name] = rounded
  write_field(K.SERVED, name, rounded)
end

-- The names of the numbers of a class at the slots of an offer.
local function pass_names(class, offer)
  local here = class .. '|' .. offer
  return {pass = 'pass:' .. here, away = 'away:' .. here, seen = 'seen:' .. here, given = 'given:' .. class}
end

-- How far a second of GPU time moves the pass of a class. Strides are whole numbers, so that equal passes compare as
-- equal.
local function stride_of(class)
  local product = 1
  for _, weight in pairs(CLASS_WEIGHTS) do product = product * weight end
  return product / (CLASS_WEIGHTS[class] or 1)
end

-- By class: its pass at the slots of an offer, the part of it that comes from other slots (`away`), what it was given
-- anywhere, and the names of these numbers. A pass is at least that of the class that was taken here last: turns that a
-- class did not use, because nothing of it waited for the slots that were free, are not saved up.
local function passes_at(offer)
  if passes[offer] then return passes[offer] end
  local wanted, found = {'pass|' .. offer}, {}
  for class in next, CLASS_WEIGHTS do
    local names = pass_names(class, offer)
    found[class] = {names = names}
    for _, name in next, names do wanted[#wanted + 1] = name end
  end
  read_turns(wanted)
  local level = turns[wanted[1]]
  for _, of in next, found do
    local names = of.names
    local pass, given = math.max(turns[names.pass], level), turns[names.given]
    local known = math.min(turns[names.away], pass - level)
    local away = (1 - FORGOTTEN) * known + given - turns[names.seen]
    of.pass, of.away, of.given = pass - known + away, away, given
  end
  passes[offer] = found
  return found
end

-- Correct what a class was given at the slots of an offer.
local function add_to_pass(class, offer, seconds)
  local step, names = stride_of(class) * seconds, pass_names(class, offer)
  read_turns({names.pass, names.seen, names.given})
  set_turn(names.pass, turns[names.pass] + step)
  set_turn(names.seen, turns[names.seen] + step)
  set_turn(names.given, turns[names.given] + step)
  passes[offer] = nil
end

-- A class has its turn at the slots of an offer, for a job that takes so many seconds.
local function pass_on(class, offer, seconds)
  local found, step = passes_at(offer), stride_of(class) * seconds
  set_turn('pass|' .. offer, found[class].pass)
  for name, of in next, found do
    local added, names = name == class and step or 0, of.names
    set_turn(names.pass, of.pass + added)
    set_turn(names.away, of.away)
    set_turn(names.seen, of.given + added)
  end
  set_turn(found[class].names.given, found[class].given + step)
  passes[offer] = nil
end

-- Whether a class goes before another one when their passes are equal.
local function wins_tie(class, other)
  local weight, other_weight = CLASS_WEIGHTS[class], CLASS_WEIGHTS[other]
  if weight ~= other_weight then return weight > other_weight end
  return class < other
end

-- GPU seconds that a key was served in a class, as they count for jobs of a model.
local function served_name(class, key, model)
  return class .. '|' .. key .. '|' .. model
end

local function served_of(class, key, model)
  return turn_of(served_name(class, key, model))
end

-- The names of the levels of a class at the slots that run a model: what the keys that were taken there last had been
-- served.
local function level_names(class, model)
  local names = {}
  for i, offer in ipairs(offers_of(model)) do names[i] = 'v:' .. class .. '|' .. offer end
  return names
end

-- The highest of these numbers.
local function highest_of(names)
  local highest = 0
  for _, name in ipairs(names) do highest = math.max(highest, turn_of(name)) end
  return highest
end
