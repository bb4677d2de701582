-- wshttp shared 1: what all scripts of the `Shared` port begin with
--
-- KEYS[1]  the index: all keys by when they were last used (microseconds, a sorted set)
-- ARGV     the call's id; how long (ms) the call may be sent again; the key; then what each script says itself
--
-- Counters are strings, one-time values lists of one item, lists are streams: whoever takes one for another gets
-- WRONGTYPE. All of them expire by themselves.
local index, name = KEYS[1], ARGV[3]
local sizes, sum = index .. ':b', index .. ':s' -- how many bytes each key has, of those that have any, and all together

local function key_of(member)
  return index .. ':k:' .. member
end

local key = key_of(name)

-- Makes a change once, however often its call is sent: the answer is kept under the call's id.
local function once(change)
  local said = index .. ':a:' .. ARGV[1]
  local answer = redis.call('GET', said)
  if not answer then
    answer = change()
    if answer then
      redis.call('SET', said, answer, 'PX', ARGV[2])
    end
  end
  return answer
end

local function note_use()
  local now = redis.call('TIME')
  redis.call('ZADD', index, now[1] * 1000000 + now[2], name)
end

local function note_size(member, bytes)
  local before = tonumber(redis.call('HGET', sizes, member) or 0)
  if bytes == before then
    return
  end
  if bytes == 0 then
    redis.call('HDEL', sizes, member)
  else
    redis.call('HSET', sizes, member, bytes)
  end
  redis.call('INCRBY', sum, bytes - before)
end

local function drop(member)
  redis.call('DEL', key_of(member))
  redis.call('ZREM', index, member)
  note_size(member, 0)
end

local function is_too_much(maximum, max_bytes)
  local keys = redis.call('ZCARD', index)
  return keys > maximum or (max_bytes > 0 and keys > 1 and tonumber(redis.call('GET', sum) or 0) > max_bytes)
end

-- Lets the key, which has so many bytes now, live for `ttl` ms, and makes room for it: among `maximum` keys, and in
-- `max_bytes` (0: as many as there are).
local function keep(ttl, bytes, maximum, max_bytes)
  redis.call('PEXPIRE', key, ttl)
  note_use()
  note_size(name, bytes)
  if redis.call('PTTL', index) < tonumber(ttl) then
    redis.call('PEXPIRE', index, ttl)
  end
  if bytes > 0 then
    local left = redis.call('PTTL', index)
    redis.call('PEXPIRE', sizes, left)
    redis.call('PEXPIRE', sum, left)
  end
  -- Of what has expired, names stay behind. Looking after two for each one that comes leaves no more than half of them.
  for _, other in ipairs(redis.call('ZRANDMEMBER', index, 2)) do
    if redis.call('EXISTS', key_of(other)) == 0 then
      drop(other)
    end
  end
  while is_too_much(tonumber(maximum), tonumber(max_bytes)) do
    drop(redis.call('ZRANGE', index, 0, 0)[1])
  end
end
