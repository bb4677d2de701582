-- Takes a lock, or waits for it; asked again by the same waiter it says whether it has it by now.
local ref, holder, waiter = given(1), given(2), given(3)
if not read_living(ref) then
  return answer('ended')
end
redis.call('ZADD', root .. ':nodes', 'GT', at + lease, me)  -- a lock is held through the lease of its node
local place = waiter .. '/' .. me .. '/' .. holder
if not read_lock(ref) then
  hand_on(ref)
  if not read_lock(ref) then
    write_lock(ref, holder, me, waiter)
  end
end
if read_lock(ref).waiter == waiter then
  return answer('held')
end
if not redis.call('ZSCORE', root .. ':lockq:' .. ref, place) then
  redis.call('ZADD', root .. ':lockq:' .. ref, redis.call('HINCRBY', root .. ':meta', 'seq', 1), place)
end
return answer('waits')
