-- wshttp shared 1: add
-- ARGV[4..]  amount, ttl (ms, from the first add on), maximum of keys, of bytes
return once(function()
  local value = redis.call('INCRBY', key, ARGV[4])
  if redis.call('PTTL', key) == -1 then -- it is new
    keep(ARGV[5], 0, ARGV[6], ARGV[7])
  else
    note_use()
  end
  return value
end)
