-- Moves a life to a new key, and gives it a user where one is given.
local ref, key, user, account, token = given(1), given(2), given_text(3), given(4), given(5)
local has_holder, holder_key, holder_user = given(6) == '1', given(7), given_text(8)
local max_per_user, may_end = tonumber(given(9)), given(10) == '1'

local function shown(ended)
  local session = shown_session(ref)
  return session and answer('renewed', session, shown_ends(ended)) or answer('ended')
end

local earlier = earlier_answer(token)
if earlier then
  for _, ended in ipairs(earlier) do
    hold_again(ended .. '-end')
  end
  return shown(earlier)
end
local life = read_living(ref)
if not life then
  return answer('ended')
end
if has_holder and (holder_key ~= life.key or holder_user ~= life.user) then
  return answer('held')
end

local going, ended = {}, {}
if user and user ~= life.user then
  local refused = make_room(user, life.bucket, {all = 0, user = max_per_user, address = 0}, may_end, going)
  if refused then
    return refused
  end
end
check_keys(life)
check_keys({ref = ref, user = user or life.user, bucket = life.bucket, key = key})
for _, victim in ipairs(going) do
  check_keys(victim)
end
for n, victim in ipairs(going) do
  end_life(victim, 'limit')
  ended[n] = victim.ref
end

local hash = live_key(ref)
if key ~= life.key then
  bury(life.key, ref, 'renewed', '')
  life.key = key
  redis.call('HSET', hash, 'k', key)
  redis.call('SET', root .. ':k:' .. key, 's' .. ref)
end
if user then
  unlist_user(life)
  life.user = user
  redis.call('HSET', hash, 'u', user, 'r', account)
  redis.call('ZADD', root .. ':u:' .. user, 0, ref)
end
life.restarted = at
write_access(life, idle_at)
enter_due(life)
drop_copies(ref)
keep_answer(token, ended)
return shown(ended)
