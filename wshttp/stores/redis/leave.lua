-- The caller leaves, and gives back so many of the entries that it still owes.
local maximum = tonumber(given(1))
local members = redis.call('ZRANGE', root .. ':n:' .. me, 0, maximum - 1)
for _, member in ipairs(members) do
  pcall(take_back, me, member)  -- one that is not ours any more keeps nobody
end
if #members < maximum then
  redis.call('ZREM', root .. ':nodes', me)
  return answer('left')
end
return answer('more')
