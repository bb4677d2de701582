-- Merges changes, all or none: what must hold, then in groups what is expected, what to write, what to schedule.
local ref, key, holder, max_data, token = given(1), given(2), given(3), tonumber(given(4)), given(5)
local idle, absolute = given(6), given(7)
local expectations, values, calls = tonumber(given(8)), tonumber(given(9)), tonumber(given(10))
local hash = live_key(ref)

if earlier_answer(token) then
  local session = shown_session(ref)
  return session and answer('applied', session) or answer('ended')
end
local life = read_living(ref)
if not life then
  return answer('ended')
end
if holder ~= '' and not holds_lock(ref, holder) then
  return answer('unlocked')
end
local first_expected = 11
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
drop_copies(ref)
keep_answer(token, 1)
return answer('applied', redis.call('HGETALL', hash))
