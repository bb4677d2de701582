-- Gives a lock up: its holder, or a waiter (which then need not have it yet).
local ref, holder, waiter = given(1), given(2), given(3)
local lock = read_lock(ref)
if waiter ~= '' then
  redis.call('ZREM', root .. ':lockq:' .. ref, waiter .. '/' .. me .. '/' .. holder)
end
if lock and (waiter == '' and lock.holder == holder or lock.waiter == waiter) then
  return answer('released', hand_on(ref))
end
return answer('released')
