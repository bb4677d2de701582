-- wshttp shared 1: what all scripts of the `Shared` port begin with
--
-- KEYS[1]  the index: all keys by when they were last used (microseconds, a sorted set)
-- ARGV     the call's id; how long (ms) the call may be sent again; the key; then what each script says itself
--
-- Counters are strings, one-time values lists of one item, lists are streams: whoever takes one for another gets
-- WRONGTYPE. All of them expire by themselves.
local index, name = KEYS[1], ARGV[3]

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

-- Lets the key live for `ttl` ms, and makes room for it among `maximum` keys.
local function keep(ttl, maximum)
  redis.call('PEXPIRE', key, ttl)
  note_use()
  if redis.call('PTTL', index) < tonumber(ttl) then
    redis.call('PEXPIRE', index, ttl)
  end
  -- Of what has expired, names stay behind. Looking after two for each one that comes leaves no more than half of them.
  for _, other in ipairs(redis.call('ZRANDMEMBER', index, 2)) do
    if redis.call('EXISTS', key_of(other)) == 0 then
      redis.call('ZREM', index, other)
    end
  end
  while redis.call('ZCARD', index) > tonumber(maximum) do
    redis.call('DEL', key_of(redis.call('ZPOPMIN', index)[1]))
  end
end
