-- wshttp shared 1: append
-- ARGV[4..]  item, how many are kept, ttl (ms, from now on), maximum of keys
-- Offsets are the second half of the stream's ids, which the server counts up and never uses again: 0-1, 0-2, ...
return once(function()
  local id = redis.call('XADD', key, 'MAXLEN', '=', ARGV[5], '0-*', 'item', ARGV[4])
  keep(ARGV[6], ARGV[7])
  return tonumber(id:sub(3))
end)
