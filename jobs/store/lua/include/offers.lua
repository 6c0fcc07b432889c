-- Slots by what they offer. Slots that run the same models have the same offer, so the slots for a model are found
-- without a look at each. The record of a slot says where it is indexed: `offer`, `standing`, `idle_since`, `warm` (the
-- models in memory, by name) and `busy` (the attempt).
-- include: common, rates, records, slots, victims

local STANDING = {[OBSTACLE.CLOSED] = USABLE, [OBSTACLE.PAUSED] = IS_PAUSED, [OBSTACLE.BLOCKED] = IS_BLOCKED}

-- Of each offer, so many idle slots are looked at in search of one of a certain host.
local MAX_OF_HOST = 16

-- The offers that include a model, by model, as they were read.
local offers_found = {}

-- By the models of slots (JSON): the names of their offers.
local offer_names = {}

local function offer_name(slot)
  local models = slot_of(slot).models or '[]'
  offer_names[models] = offer_names[models] or redis.sha1hex(models):sub(1, 16)
  return offer_names[models]
end

local function index_standing(slot, standing)
  local record = slot_of(slot)
  local offer = standing and offer_name(slot)
  if record.offer == offer and record.standing == standing then return end
  if record.offer and record.offer ~= offer then
    redis.call('ZREM', K.OFFER_SLOTS .. record.offer, slot)
    if redis.call('EXISTS', K.OFFER_SLOTS .. record.offer) == 0 then
      local models = cjson.decode(redis.call('HGET', K.OFFERS, record.offer))
      for _, model in ipairs(models) do redis.call('SREM', K.MODEL_OFFERS .. model, record.offer) end
      redis.call('HDEL', K.OFFERS, record.offer)
      offers_found = {}
    end
  end
  if not offer then return unset_slot(slot, {'offer', 'standing'}) end
  if redis.call('HSETNX', K.OFFERS, offer, record.models or '[]') == 1 then
    for _, model in ipairs(models_of(slot)) do redis.call('SADD', K.MODEL_OFFERS .. model, offer) end
    offers_found = {}
  end
  redis.call('ZADD', K.OFFER_SLOTS .. offer, standing, slot)
  set_slot(slot, {offer = offer, standing = standing})
end

local function index_warm(slot, since)
  local old, warm, names = {}, since and warm_models(slot) or {}, {}
  for model in string.gmatch(slot_of(slot).warm or '', '[^,]+') do old[model] = true end
  for model, _ in pairs(old) do
    if not warm[model] then redis.call('ZREM', K.WARM .. model, slot) end
  end
  for model, _ in pairs(warm) do
    if not old[model] then redis.call('ZADD', K.WARM .. model, since, slot) end
    table.insert(names, model)
  end
  if names[1] then
    set_slot(slot, {warm = table.concat(names, ',')})
  else
    unset_slot(slot, {'warm'})
  end
end

-- `offer`: the one under which the slot is indexed as idle until now, or will be.
local function index_idle(slot, offer, is_idle)
  local record = slot_of(slot)
  if is_idle and not record.idle_since then
    set_slot(slot, {idle_since = int(now_ms())})
    redis.call('ZADD', K.IDLE .. offer, record.idle_since, slot)
  elseif not is_idle and record.idle_since then
    redis.call('ZREM', K.IDLE .. offer, slot)
    unset_slot(slot, {'idle_since'})
  end
  index_warm(slot, record.idle_since)
end

local function index_busy(slot, offer, is_busy)
  local record = slot_of(slot)
  if not is_busy then
    if record.busy then redis.call('ZREM', K.BUSY .. offer, slot) end
    return unset_slot(slot, {'busy'})
  end
  local binding = record.job .. ' ' .. record.attempt
  if record.busy == binding then return end
  local job = job_of(record.job)
  local ends_at = now_ms() + 1000 * expected_s(job.model or '', job.work or 0, slot)
  redis.call('ZADD', K.BUSY .. offer, int(ends_at), slot)
  set_slot(slot, {busy = binding})
end

-- Bring the indexes up to date after anything about a slot has changed.
local function index_slot(slot)
  local obstacle, record = obstacle_of(slot), slot_of(slot)
  local standing = obstacle and STANDING[obstacle] or not obstacle and USABLE or nil
  local old_offer = record.offer
  if old_offer and (not standing or old_offer ~= offer_name(slot)) then
    index_idle(slot, old_offer, false)
    index_busy(slot, old_offer, false)
  end
  index_standing(slot, standing)
  if record.reserved and (standing ~= USABLE or not has(record.job)) then unreserve(slot) end
  index_victim(slot)
  if not standing then return end
  index_idle(slot, record.offer, not obstacle and not has(record.job))
  index_busy(slot, record.offer, standing == USABLE and has(record.job))
end

-- Remove a slot with all that is known of it.
local function remove_slot(slot)
  unset_slot(slot, {'owner'})
  index_slot(slot)
  delete_hash(K.SLOT .. slot)
  redis.call('SREM', K.SLOTS, slot)
  redis.call('SREM', K.STOPPING, slot)
  redis.call('ZREM', K.UNFILLED, slot)
  redis.call('ZREM', K.LEASES, slot)
end

-- The offers that include a model.
local function offers_of(model)
  offers_found[model] = offers_found[model] or redis.call('SMEMBERS', K.MODEL_OFFERS .. model)
  return offers_found[model]
end

-- The idle slot of a host that can run a model; nil when there is none among those that have been idle longest.
local function idle_slot_at(host, model)
  for _, offer in ipairs(offers_of(model)) do
    for _, slot in ipairs(redis.call('ZRANGE', K.IDLE .. offer, 0, MAX_OF_HOST - 1)) do
      if field_of(K.SLOT .. slot, 'node') == host then return slot end
    end
  end
end

-- An idle slot that can run a job of this line and model: one of this host if there is one (`host`: nil for any), or
-- one that has the model in memory, otherwise the one that has been idle longest. nil when there is none.
local function idle_slot_for(pin, model, host)
  if pin then return field_of(K.SLOT .. pin, 'idle_since') and can_run(pin, model) and pin or nil end
  local at_host = host and idle_slot_at(host, model)
  if at_host then return at_host end
  local warm = redis.call('ZRANGE', K.WARM .. model, 0, 0)[1]
  if warm then return warm end
  local slot, since
  for _, offer in ipairs(offers_of(model)) do
    local first = redis.call('ZRANGE', K.IDLE .. offer, 0, 0, 'WITHSCORES')
    if first[1] and (not slot or tonumber(first[2]) < since) then slot, since = first[1], tonumber(first[2]) end
  end
  return slot
end
