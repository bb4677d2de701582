local ANSWERS_KEPT = 60  -- seconds

-- What was answered a moment ago. A call that is sent or asked for again changes nothing, and gets the same answer.
local function answers_key(token)
  return root .. ':a:' .. (token ~= '' and token or call)
end

local function earlier_answer(token)
  local found = redis.call('GET', answers_key(token))
  return found and cmsgpack.unpack(found)
end

-- Whoever asks with a token of their own may do so for so long; a call itself is sent again within its time only, unless
-- somebody looks later what it was that nobody heard: then `seconds` is how long that may be.
local function keep_answer(token, said, seconds)
  seconds = seconds or token ~= '' and ANSWERS_KEPT or math.max(0, late_after - at) + 5
  redis.call('SET', answers_key(token), cmsgpack.pack(said), 'PX', math.ceil(seconds * 1000))
end

-- An entry whose first answer was lost is the caller's by this one: it is not taken back, or not any more.
local function hold_again(id)
  local entry = read_entry(id)
  if entry and entry.node == me then
    redis.call('ZREM', root .. ':orphans', id)
    redis.call('ZREM', root .. ':n:' .. me, entry.call .. '/' .. id)
    note_owner(entry)
  end
end
