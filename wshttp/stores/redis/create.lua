-- Begins a life: its facts, then other fields and data, in pairs.
local ref, key, user, bucket = given(1), given(2), given_text(3), given(4)
local maxima = {all = tonumber(given(5)), user = tonumber(given(6)), address = tonumber(given(7))}
local may_end, replace = given(8) == '1', given(9) == '1'
local FIRST_FIELD = 13

local function shown_creation(ended)
  local entry = read_entry(ref .. '-start')
  return answer('created', entry and math.max(entry.attempt, 1) or 1, shown_session(ref), shown_ends(ended))
end

local earlier = earlier_answer(ref)
local reason_before = redis.call('HGET', ended_key(ref), 'y')
if reason_before then
  return answer('ended', reason_before)
elseif earlier and read_life(ref) then
  hold_again(ref .. '-start')
  for _, ended in ipairs(earlier) do
    hold_again(ended .. '-end')
  end
  return shown_creation(earlier)
end

-- This very life was there before, and nobody remembers that it was asked for: none begins twice.
local known = read_life(ref)
if known then
  local reason = over(known)
  return reason and answer('ended', reason) or answer('exists', shown_session(ref))
end
local going = {}
local found = redis.call('GET', root .. ':k:' .. key)
if found and string.sub(found, 1, 1) == 't' then
  local grave = cmsgpack.unpack(string.sub(found, 2))
  if grave[2] == ref and at < grave[1] then
    return answer('ended', grave[3])
  end
end
local present = found and string.sub(found, 1, 1) == 's' and read_life(string.sub(found, 2))
if present then
  local reason = over(present)
  if reason then
    end_overdue(present, reason)
  elseif not replace then
    return answer('exists', redis.call('HGETALL', live_key(present.ref)))
  else
    going[1], going[present.ref] = present, true
  end
end

local refused = make_room(user, bucket, maxima, may_end, going)
if refused then
  return refused
end

local life = {ref = ref, user = user, bucket = bucket, key = key, idle = tonumber(given(10)),
  absolute = tonumber(given(11)), restarted = at, access = idle_at, warned = 0, size = tonumber(given(12)), revision = 0}
check_keys(life)
for _, victim in ipairs(going) do
  check_keys(victim)
end
local ended = {}
for n, victim in ipairs(going) do
  end_life(victim, n == 1 and replace and victim.key == key and 'replaced' or 'limit')
  ended[n] = victim.ref
end

local hash = live_key(ref)
redis.call('HSET', hash, 'k', key, 'b', bucket, 'o', '1')
for n = FIRST_FIELD, own_count, 2 do
  redis.call('HSET', hash, given(n), given(n + 1))
end
write_numbers(life)
redis.call('SET', root .. ':k:' .. key, 's' .. ref)
redis.call('ZADD', root .. ':all', 0, ref)
redis.call('ZADD', root .. ':b:' .. bucket, 0, ref)
if user then
  redis.call('HSET', hash, 'u', user)
  redis.call('ZADD', root .. ':u:' .. user, 0, ref)
else
  redis.call('ZADD', root .. ':idle', idle_at, ref)
end
enter_due(life)
hand_out(new_entry('start', ref .. '-start', ref, hash, '1'))
keep_answer(ref, ended)
return shown_creation(ended)
