-- The limits, in the same step as what they let in.
local LOOKED_AT = 1000  -- sessions that are due, of which some may be over: there are more only where sweeps are far behind
local ENDED_AT_ONCE = 50  -- of these
local COMPARED = 1000  -- sessions of one user or address

local function each_overdue(maximum, visit)
  for _, ref in ipairs(redis.call('ZRANGE', root .. ':due', '-inf', at, 'BYSCORE', 'LIMIT', 0, maximum)) do
    local life = try_life(ref)
    local reason = life and over(life)
    if reason then
      pcall(visit, life, reason)  -- one that cannot be ended is left to `take_due`, which says so
    end
  end
end

-- How many of a list go on; `field` and `value` are what its sessions have in common. Who is over keeps nobody out.
local function count_living(list, field, value)
  local count = redis.call('ZCARD', list)
  if count > 0 then
    each_overdue(LOOKED_AT, function(life)
      if life[field] == value then
        count = count - 1
      end
    end)
  end
  return count
end

-- All of a list, or, so that nobody else waits long, some that are drawn: the longest idle of a thousand are idle, too.
local function candidates(list)
  if redis.call('ZCARD', list) <= COMPARED then
    return redis.call('ZRANGE', list, 0, -1)
  end
  return redis.call('ZRANDMEMBER', list, COMPARED)
end

-- So many of a list, the longest idle first; with `anonymous`, of those who are not logged in.
local function longest_idle(number, going, list, anonymous)
  local found = {}
  for _, ref in ipairs(candidates(list)) do
    local life = not going[ref] and try_living(ref)
    if life and not (anonymous and life.user) then
      found[#found + 1] = life
    end
  end
  table.sort(found, function(one, other) return one.access < other.access end)
  return {unpack(found, 1, number)}
end

-- The same of all who are not logged in; touches keep their list in order.
local function longest_idle_of_all(number, going)
  local found = {}
  for _, ref in ipairs(redis.call('ZRANGE', root .. ':idle', 0, number + #going - 1)) do
    if not going[ref] and #found < number then
      found[#found + 1] = try_life(ref)
    end
  end
  return found
end

-- How many too many there would be of a user or an address.
local function surplus_of(list, field, value, maximum, going)
  if maximum == 0 or redis.call('ZCARD', list) < maximum then
    return 0
  end
  local count = count_living(list, field, value)
  for _, life in ipairs(going) do
    if life[field] == value then
      count = count - 1
    end
  end
  return count - maximum + 1
end

-- How many too many there would be in all; those that are over make room by themselves.
local function surplus_in_all(maximum, going)
  local function surplus()
    return maximum > 0 and redis.call('ZCARD', root .. ':all') - #going - maximum + 1 or 0
  end
  if surplus() > 0 then
    each_overdue(ENDED_AT_ONCE, end_overdue)
  end
  return surplus()
end

-- Adds to `going` who must go for one more, or returns the answer that refuses.
-- `untold` is refused, too, before anybody has gone: the node knows of touches that may tell who is the longest idle.
local function make_room(user, bucket, maxima, may_end, going)
  local function clear(setting, maximum, surplus, find, ...)
    if surplus <= 0 then
      return nil
    elseif may_end and untold > 0 then
      return answer('untold')
    end
    surplus = math.min(surplus, MAX_VICTIMS)
    local victims = may_end and find(surplus, going, ...) or {}
    if #victims < surplus then
      return answer('full', setting, maximum)
    end
    for _, victim in ipairs(victims) do
      going[#going + 1] = victim
      going[victim.ref] = true
    end
  end

  local refused
  if user then
    local list = root .. ':u:' .. user
    local surplus = surplus_of(list, 'user', user, maxima.user, going)
    refused = clear('session.max_sessions_per_user', maxima.user, surplus, longest_idle, list, false)
  end
  if not refused then
    local list = root .. ':b:' .. bucket
    local surplus = surplus_of(list, 'bucket', bucket, maxima.address, going)
    refused = clear('session.max_sessions_per_ip', maxima.address, surplus, longest_idle, list, true)
  end
  return refused or clear('session.max_sessions', maxima.all, surplus_in_all(maxima.all, going), longest_idle_of_all)
end
