-- The limits, in the same step as what they let in.
local LOOKED_AT = 1000  -- sessions that are due, of which some may be over: there are more only where sweeps are far behind
local ENDED_AT_ONCE = 50  -- of these

local function each_overdue(maximum, visit)
  for _, ref in ipairs(redis.call('ZRANGE', root .. ':due', '-inf', at, 'BYSCORE', 'LIMIT', 0, maximum)) do
    local life = read_life(ref)
    local reason = life and over(life)
    if reason then
      visit(life, reason)
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

-- The longest idle of a list, which is as long as its limit; with `anonymous`, of those who are not logged in.
local function longest_idle(list, going, anonymous)
  local oldest
  for _, ref in ipairs(redis.call('ZRANGE', list, 0, -1)) do
    local life = not going[ref] and read_living(ref)
    if life and not (anonymous and life.user) and (not oldest or life.access < oldest.access) then
      oldest = life
    end
  end
  return oldest
end

-- The longest idle of all who are not logged in; touches keep their list in order.
local function longest_idle_of_all(going)
  for _, ref in ipairs(redis.call('ZRANGE', root .. ':idle', 0, #going)) do
    if not going[ref] then
      return read_life(ref)
    end
  end
end

-- A user's or an address's list that is full as it stands; nil where there is room.
local function is_full(list, field, value, maximum, going)
  if maximum == 0 or redis.call('ZCARD', list) < maximum then
    return false
  end
  local count = count_living(list, field, value)
  for _, life in ipairs(going) do
    if life[field] == value then
      count = count - 1
    end
  end
  return count >= maximum
end

-- All sessions; those that are over make room by themselves.
local function is_full_in_all(maximum, going)
  local function is_full_yet()
    return maximum > 0 and redis.call('ZCARD', root .. ':all') - #going >= maximum
  end
  if is_full_yet() then
    each_overdue(ENDED_AT_ONCE, end_overdue)
  end
  return is_full_yet()
end

-- Adds to `going` who must go for one more, or returns the answer that refuses.
-- `untold` is refused, too, before anything is changed: the node knows of touches that may tell who is the longest idle.
local function make_room(user, bucket, maxima, may_end, going)
  local function one_more(setting, maximum, find, ...)
    if may_end and untold > 0 then
      return answer('untold')
    end
    local victim = may_end and find(...)
    if not victim then
      return answer('full', setting, maximum)
    end
    going[#going + 1] = victim
    going[victim.ref] = true
  end

  local list = user and root .. ':u:' .. user
  local refused
  if user and is_full(list, 'user', user, maxima.user, going) then
    refused = one_more('session.max_sessions_per_user', maxima.user, longest_idle, list, going, false)
  end
  list = root .. ':b:' .. bucket
  if not refused and is_full(list, 'bucket', bucket, maxima.address, going) then
    refused = one_more('session.max_sessions_per_ip', maxima.address, longest_idle, list, going, true)
  end
  if not refused and is_full_in_all(maxima.all, going) then
    refused = one_more('session.max_sessions', maxima.all, longest_idle_of_all, going)
  end
  return refused
end
