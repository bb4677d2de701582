-- Merges changes, all or none: what must hold, then in groups what is expected, what to write, what to schedule.
local ref, key, holder, max_data, token = given(1), given(2), given(3), tonumber(given(4)), given(5)
local sent_at_first, idle, absolute = given(6), given(7), given(8)
local expectations, values, calls = tonumber(given(9)), tonumber(given(10)), tonumber(given(11))
local hash = live_key(ref)

-- A change that may have been made since `sent_at_first`, so long ago that its answer is not kept: the session knows
-- which one was the last, and when. Where it was this one, it was made; where that was before, it was not.
local last = redis.call('HGET', hash, 'w')
local is_last = last and token ~= '' and string.sub(last, 9) == token
local may_be_made = sent_at_first ~= '' and at - tonumber(sent_at_first) >= ANSWERS_KEPT
  and last and struct.unpack('<d', last) >= tonumber(sent_at_first) - 1  -- clocks differ a little

if earlier_answer(token) or is_last then
  local session = shown_session(ref)
  return session and answer('applied', session) or answer('ended')
end
local life = read_living(ref)
if not life then
  return answer('ended')
elseif may_be_made then
  return answer('unknown')
end
if holder ~= '' and not holds_lock(ref, holder) then
  return answer('unlocked')
end
local first_expected = 12
local first_value = first_expected + 2 * expectations
local first_call = first_value + 3 * values
if are_too_many(ref, first_call, calls) then
  return answer('calls')
end
if key ~= '' and key ~= life.key then
  return answer('renewed')
end

-- JSON texts: an empty one is none. Where two differ they may yet say the same; the caller can tell.
for n = first_expected, first_value - 1, 2 do
  local found = redis.call('HGET', hash, 'd:' .. given(n)) or ''
  if found ~= given(n + 1) then
    return answer('differs', given(n), found)
  end
end

-- A value comes with its key, and how many bytes the key takes as JSON.
local size = life.size
for n = first_value, first_call - 1, 3 do
  local key_size = tonumber(given(n + 2))
  size = size + size_of(given(n + 1), key_size) - size_of(redis.call('HGET', hash, 'd:' .. given(n)) or '', key_size)
end
if max_data > 0 and size > math.max(max_data, life.size) then
  return answer('large', size)
end

life.size, life.revision = size, life.revision + 1
for n = first_value, first_call - 1, 3 do
  if given(n + 1) == '' then
    redis.call('HDEL', hash, 'd:' .. given(n))
  else
    redis.call('HSET', hash, 'd:' .. given(n), given(n + 1))
  end
end
for n = first_call, first_call + 3 * calls - 1, 3 do
  schedule(ref, given(n), tonumber(given(n + 1)), given(n + 2))
end
if idle ~= '' or absolute ~= '' then
  life.idle, life.absolute = tonumber(idle) or life.idle, tonumber(absolute) or life.absolute
  life.warned = 0
  enter_due(life)
end
write_numbers(life)
if token ~= '' then
  redis.call('HSET', hash, 'w', struct.pack('<d', at) .. token)
end
drop_copies(ref)
keep_answer(token, 1)
return answer('applied', redis.call('HGETALL', hash))
