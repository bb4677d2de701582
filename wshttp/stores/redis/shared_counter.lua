-- wshttp shared 1: counter
-- Returns the value, and the milliseconds that are left. To ask is to use: who is refused is not forgotten for it.
local value = redis.call('GET', key)
if not value then
  return {0, 0}
end
note_use()
return {value, redis.call('PTTL', key)}
