-- wshttp shared 1: read
-- ARGV[4..]  the offset after which to read, how many bytes (0: all that there are)
-- Returns the offset of the oldest item, and the items.
local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
if not oldest then
  return {1, {}}
end
note_use()
local bound, bytes, items = tonumber(ARGV[5]), 0, {}
for i, entry in ipairs(redis.call('XRANGE', key, '(0-' .. ARGV[4], '+')) do
  bytes = bytes + #entry[2][2]
  if bound > 0 and bytes > bound and i > 1 then
    break
  end
  items[i] = entry[2][2]
end
return {tonumber(oldest[1]:sub(3)), items}
