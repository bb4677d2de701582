-- Takes at most so many of what time has brought; then come the ids of calls whose answers the caller never heard.
local budget, said = tonumber(given(1)), {{}, {}, {}, {}, 0}
local EXPIRING, ENDED, SCHEDULED, OWED, MORE = 1, 2, 3, 4, 5
local LOOK_AGAIN = 60  -- seconds
local FORGOTTEN_AT_ONCE = 2000  -- scheduled events of sessions that end
local aside = {}  -- what cannot be read or written, since another program has written there, and why

local function take(kind, what)
  local list = said[kind]
  list[#list + 1] = what
end

-- Each on its own, so that one that is not ours stops no other: it is put aside, and told of.
local function each_apart(members, visit, put_aside)
  for _, member in ipairs(members) do
    local is_done, problem = pcall(visit, member)
    if not is_done then
      aside[#aside + 1] = member .. ': ' .. (type(problem) == 'table' and problem.err or tostring(problem))
      put_aside(member)
    end
  end
end

local function look_again_later(list)
  return function(member)
    redis.call('ZADD', root .. list, at + LOOK_AGAIN, member)
  end
end

-- Everything that was found counts, also what leads to nothing: no call takes long.
local function spend(count)
  budget = budget - count
  if budget <= 0 then
    said[MORE] = 1
  end
end

local function shown_entry(id)
  local entry = redis.call('HMGET', entry_key(id), 'kind', 'ref', 'attempt', 'payload')
  return entry[1] and {id, entry[1], entry[3], entry[4], shown_session(entry[2])} or nil
end

local function each(list, show)
  local shown = {}
  for _, one in ipairs(list) do
    shown[#shown + 1] = show(one)
  end
  return shown
end

local function shown()
  return answer('due', each(said[EXPIRING], shown_session), shown_ends(said[ENDED]), each(said[SCHEDULED], shown_entry),
    each(said[OWED], shown_entry), said[MORE], aside)
end

-- A warning that nobody heard is given again.
local function warn_again(given_by)
  local unheard_answer = redis.call('GET', root .. ':a:' .. given_by)
  local found = unheard_answer and cmsgpack.unpack(unheard_answer)
  for _, ref in ipairs(type(found) == 'table' and type(found[EXPIRING]) == 'table' and found[EXPIRING] or {}) do
    local life = try_living(ref)
    if life and life.warned > 0 then
      life.warned = 0
      write_numbers(life)
      enter_due(life)
    end
  end
end

-- What was given in calls that nobody heard, and to nodes that have died, is there for everybody again.
local function take_back_unheard()
  for n = 2, own_count do
    local given_by = given(n)
    warn_again(given_by)
    local members = redis.call('ZRANGE', root .. ':n:' .. me, '[' .. given_by .. '/', '(' .. given_by .. '0', 'BYLEX')
    for _, member in ipairs(members) do  -- '0' is what follows '/'
      pcall(take_back, me, member)
    end
  end
end

local function take_back_from_the_dead()
  -- One at a time, so that no call takes long; of the first two, as one may be the caller, who lives though it came late.
  for _, node in ipairs(redis.call('ZRANGE', root .. ':nodes', '-inf', '(' .. at, 'BYSCORE', 'LIMIT', 0, 2)) do
    if node ~= me then
      local members = redis.call('ZRANGE', root .. ':n:' .. node, 0, budget - 1)
      for _, member in ipairs(members) do
        pcall(take_back, node, member)
      end
      if #members < budget then
        redis.call('ZREM', root .. ':nodes', node)
      end
      said[MORE] = 1  -- of this node, or of another that is dead
      return
    end
  end
end

local function take_orphan(id)
  redis.call('ZREM', root .. ':orphans', id)
  local entry = read_entry(id)
  if not entry then
    return
  end
  local starting = redis.call('HGET', stored_key(entry.ref), 'o')
  local is_news = entry.kind == 'end' and entry.told == ''
  if is_news then
    tell_end(entry, starting)
    take(ENDED, entry.ref)
  elseif entry.kind == 'start' or may_follow(entry.ref, starting) then
    hand_out(entry)
    take(OWED, id)
  else
    park(entry)
  end
end

local function take_orphans()
  local ids = redis.call('ZRANGE', root .. ':orphans', 0, budget - 1)
  each_apart(ids, take_orphan, function() end)  -- it is no orphan any more; its session cannot be read
  spend(#ids)
end

local function come_up(ref)
  if calls_forgotten >= FORGOTTEN_AT_ONCE then
    said[MORE] = 1
    return
  end
  local life = read_life(ref)
  if not life then
    redis.call('ZREM', root .. ':due', ref)
    return
  end
  local reason = over(life)
  if reason then
    end_life(life, reason)
    take(ENDED, ref)
    return
  end
  if life.warned == 0 and warning_at(life) <= at then
    life.warned = 1
    write_numbers(life)
    take(EXPIRING, ref)
  end
  enter_due(life)
end

local function take_sessions()
  local refs = redis.call('ZRANGE', root .. ':due', '-inf', at, 'BYSCORE', 'LIMIT', 0, budget)
  each_apart(refs, come_up, look_again_later(':due'))
  spend(#refs)
end

local function take_call(member)
  local ref, event_id = string.match(member, '^%x+/(.*)/([^/]*)$')
  local life = read_life(ref)
  if life and not may_follow(ref, life.starting) then
    redis.call('ZADD', root .. ':calls', at + 0.25, member)  -- nobody works on a session before its start is over
    return
  end
  redis.call('ZREM', root .. ':calls', member)
  local list = root .. ':c:' .. ref
  local scheduled = redis.call('HGET', list, event_id)
  redis.call('HDEL', list, event_id)
  if life and scheduled then
    local entry = new_entry('scheduled', event_id, ref, live_key(ref), '1')
    redis.call('HSET', entry_key(event_id), 'payload', string.sub(scheduled, #member + 2))
    hand_out(entry)
    take(SCHEDULED, event_id)
  end
end

local function take_calls()
  local members = redis.call('ZRANGE', root .. ':calls', '-inf', at, 'BYSCORE', 'LIMIT', 0, budget)
  each_apart(members, take_call, look_again_later(':calls'))
  spend(#members)
end

local earlier = earlier_answer('')
if earlier then
  said = earlier
  return shown()
end
redis.call('HSET', root .. ':meta', 'seen', at)
take_back_unheard()
take_back_from_the_dead()
for _, step in ipairs({take_orphans, take_sessions, take_calls}) do
  if budget > 0 then
    step()
  end
end
if #said[EXPIRING] + #said[ENDED] + #said[SCHEDULED] + #said[OWED] > 0 then
  keep_answer('', said, 60)
end
return shown()
