-- How changes are measured, and what is to come of them later.
local function size_of(text, key_size)
  return text ~= '' and key_size + #text + 2 or 0  -- a colon and a comma
end

-- Whether these calls, of which each third argument is the id, are more than a session may have besides those it has.
local function are_too_many(ref, first, count)
  local list, seen = root .. ':c:' .. ref, {}
  local total = count > 0 and redis.call('HLEN', list) or 0
  for n = first, first + 3 * count - 1, 3 do
    local id = given(n)
    if not seen[id] and redis.call('HEXISTS', list, id) == 0 then
      seen[id], total = true, total + 1
    end
  end
  return count > 0 and total > MAX_SCHEDULED
end

-- A call to come. In `calls` it stands under its time, among those of the same time in the order in which they came;
-- `c:<ref>` has the same by its event, so that it is entered once, and goes with its session.
local function schedule(ref, event_id, delay, payload)
  local list = root .. ':c:' .. ref
  if redis.call('HEXISTS', list, event_id) == 1 then
    return
  end
  local seq = redis.call('HINCRBY', root .. ':meta', 'seq', 1)
  local member = string.format('%014x/%s/%s', seq, ref, event_id)
  redis.call('HSET', list, event_id, member .. ' ' .. payload)
  redis.call('ZADD', root .. ':calls', at + delay, member)
end
