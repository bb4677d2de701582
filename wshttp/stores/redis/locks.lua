-- The lock of a session, `lock:<ref>`: who holds it, and through which waiter of which node. It is held while that node
-- lives. Who waits stands in `lockq:<ref>`, in order.
local function lives(node)
  local until_then = redis.call('ZSCORE', root .. ':nodes', node)
  return until_then and tonumber(until_then) >= at
end

local function read_lock(ref)
  local found = redis.call('HMGET', root .. ':lock:' .. ref, 'holder', 'node', 'waiter')
  if not found[1] or not lives(found[2]) then
    return nil
  end
  return {holder = found[1], node = found[2], waiter = found[3]}
end

local function holds_lock(ref, holder)
  local lock = read_lock(ref)
  return lock ~= nil and lock.holder == holder
end

local function write_lock(ref, holder, node, waiter)
  redis.call('HSET', root .. ':lock:' .. ref, 'holder', holder, 'node', node, 'waiter', waiter)
end

-- Gives the lock to whoever waits longest and lives; returns that waiter.
local function hand_on(ref)
  redis.call('DEL', root .. ':lock:' .. ref)
  while true do
    local first = redis.call('ZPOPMIN', root .. ':lockq:' .. ref)[1]
    if not first then
      return
    end
    local waiter, node, holder = string.match(first, '^([^/]*)/([^/]*)/(.*)$')
    if lives(node) then
      write_lock(ref, holder, node, waiter)
      return waiter
    end
  end
end
