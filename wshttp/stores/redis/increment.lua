-- Adds to a number.
local ref, field, key_size, by = given(1), 'd:' .. given(2), tonumber(given(3)), given(4)
local max_data, key, holder, token = tonumber(given(5)), given(6), given(7), given(8)
local earlier = earlier_answer(token)
if earlier then
  return answer('total', earlier)
end
local life = read_living(ref)
if not life then
  return answer('ended')
end
if holder ~= '' and not holds_lock(ref, holder) then
  return answer('unlocked')
end
local hash = live_key(ref)
local found = redis.call('HGET', hash, field) or ''
local total = sum(found == '' and '0' or found, by)
if not total then
  return answer('no number', found)
end
if key ~= '' and key ~= life.key then
  return answer('renewed')
end
local size = life.size + size_of(total, key_size) - size_of(found, key_size)
if max_data > 0 and size > math.max(max_data, life.size) then
  return answer('large', size)
end
life.size, life.revision = size, life.revision + 1
redis.call('HSET', hash, field, total, 'n', packed(life))
drop_copies(ref)
keep_answer(token, total)
return answer('total', total)
