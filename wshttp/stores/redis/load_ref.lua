-- Finds by ref, and whether to touch.
local life = read_living(given(1))
if not life then
  return answer('none')
end
if given(2) == '1' then
  touch(life)
end
return answer('found', redis.call('HGETALL', live_key(life.ref)))
