-- Looks at so many sessions that follow a ref, and returns those who live and meet the conditions, and where to go on.
local cursor, maximum = given(1), tonumber(given(2))
local user, bucket = given_text(3), given_text(4)
local list = user and root .. ':u:' .. user or bucket and root .. ':b:' .. bucket or root .. ':all'
local refs = redis.call('ZRANGE', list, '(' .. cursor, '+', 'BYLEX', 'LIMIT', 0, maximum)
local found = {}
for _, ref in ipairs(refs) do
  local life = try_living(ref)
  if life and (not bucket or life.bucket == bucket) then
    found[#found + 1] = redis.call('HGETALL', live_key(ref))
  end
end
return answer('found', found, #refs == maximum and refs[#refs] or '')
