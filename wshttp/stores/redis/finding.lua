-- What is found under a key: the answer of `load`.
local function look_up(key, is_touched)
  local found = redis.call('GET', root .. ':k:' .. key)
  if not found then
    return {'none'}
  end
  local ref = string.sub(found, 2)
  if string.sub(found, 1, 1) == 't' then
    local grave = cmsgpack.unpack(ref)
    return at < grave[1] and {'tombstone', grave[2], grave[3], grave[4]} or {'none'}
  end
  local life = read_life(ref)
  if not life then
    return {'none'}
  end
  local reason = over(life)
  if reason then  -- nothing is written for it: `take_due` ends it
    return {'tombstone', ref, reason, redis.call('HGET', live_key(ref), 't') or ''}
  end
  if is_touched then
    touch(life)
  end
  return {'found', redis.call('HGETALL', live_key(ref))}
end
