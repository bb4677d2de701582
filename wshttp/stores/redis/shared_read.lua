-- wshttp shared 1: read
-- ARGV[4]  the offset after which to read
-- Returns the offset of the oldest item, and the items.
local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
if not oldest then
  return {1, {}}
end
note_use()
local items = redis.call('XRANGE', key, '(0-' .. ARGV[4], '+')
for i, entry in ipairs(items) do
  items[i] = entry[2][2]
end
return {tonumber(oldest[1]:sub(3)), items}
