-- wshttp shared 1: put
-- ARGV[4..]  value, ttl (ms), maximum of keys, of bytes
-- Once, too: sent again, it would bring back what somebody has taken.
return once(function()
  redis.call('DEL', key)
  redis.call('RPUSH', key, ARGV[4])
  keep(ARGV[5], #ARGV[4], ARGV[6], ARGV[7])
  return 1
end)
