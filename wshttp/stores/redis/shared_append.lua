-- wshttp shared 1: append
-- ARGV[4..]  item, how many are kept, ttl (ms, from now on), how many bytes are kept (0: any), maximum of keys, of bytes
-- Offsets are the second half of the stream's ids, which the server counts up and never uses again: 0-1, 0-2, ...
-- Each entry says in a second field how many bytes there have ever been up to it: the difference between two tells what
-- lies between them, and nobody has to read that.
local item, bound, of_all = ARGV[4], tonumber(ARGV[7]), tonumber(ARGV[9])
if of_all > 0 and (bound == 0 or bound > of_all) then
  bound = of_all
end

local function bytes_up_to(entry)
  return entry and tonumber(entry[2][4]) or 0
end

local function oldest()
  return redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
end

return once(function()
  local total = bytes_up_to(redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]) + #item
  local id = redis.call('XADD', key, 'MAXLEN', '=', ARGV[5], '0-*', 'item', item, 'total', total)
  local first = oldest()
  local kept = total - bytes_up_to(first) + #first[2][2]
  while bound > 0 and kept > bound and first[1] ~= id do
    redis.call('XDEL', key, first[1])
    kept = kept - #first[2][2]
    first = oldest()
  end
  keep(ARGV[6], kept, ARGV[8], ARGV[9])
  return tonumber(id:sub(3))
end)
