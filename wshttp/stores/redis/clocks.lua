-- Two clocks. `at` is the time now. `idle_at` runs like it, but stood still while no node reached the store: last accesses
-- are kept on it, so that nobody has been idle for as long as nobody could be served.
local root = KEYS[1]
local at = now()
local meta = redis.call('HMGET', root .. ':meta', 'schema', 'forgiven', 'seen', 'copied')
local forgiven = tonumber(meta[2] or '0')
local idle_at = at - forgiven
local copied_until = tonumber(meta[4] or '0')  -- until when some node may answer from a copy

-- Every reply begins with both clocks, and with what it is.
local function answer(word, ...)
  return {struct.pack('<dd', at, forgiven), word, ...}
end

-- A node that lives has not been heard since `since`. If no other was either, the time between did not count. A sweep of
-- a moment ago says that somebody was heard: then it is that node which is slow, and nothing stands still for it.
local function forgive(since)
  local seen = tonumber(meta[3] or '0')
  if at - seen <= 1 then
    return
  end
  local gap = at - math.max(since, seen)
  if gap <= 0 then
    return
  end
  forgiven, idle_at = forgiven + gap, idle_at - gap
  meta[3] = at
  redis.call('HSET', root .. ':meta', 'forgiven', forgiven, 'seen', at)
  -- Nor did it for the leases that held when it began: their nodes could not renew them.
  for _, node in ipairs(redis.call('ZRANGEBYSCORE', root .. ':nodes', at - gap, '+inf')) do
    redis.call('ZINCRBY', root .. ':nodes', gap, node)
  end
end

-- Renews the lease of a node for so many seconds; says, as 1 or 0, whether the last one still held.
local function renew_lease(node, seconds)
  local held = redis.call('ZSCORE', root .. ':nodes', node)
  redis.call('ZADD', root .. ':nodes', at + seconds, node)
  return held and tonumber(held) >= at and 1 or 0
end
