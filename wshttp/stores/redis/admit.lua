-- What every call does first: it is refused, or what its node has seen and not told yet is taken in.
if meta[1] ~= SCHEMA then
  return answer(meta[1] and 'schema' or 'flushed', meta[1])
end
if at - sent_at > 1 then
  forgive(sent_at)
end
if at > late_after then
  return answer('late')  -- the caller has been told that it failed; it must not be done behind their back
end
if copying > 0 and copied_until < at + copying then
  copied_until = at + copying + lease  -- whoever changes a session tells of it, though they may keep no copies themselves
  redis.call('HSET', root .. ':meta', 'copied', copied_until)
end
for n = own_count + 1, #ARGV - 5, 2 do
  tell_touch(given(n), tonumber(given(n + 1)))
end
