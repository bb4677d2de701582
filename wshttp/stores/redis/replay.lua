-- What the caller has ended and settled a moment ago, told again: a failover may have brought it back. In groups of four:
-- what it was (`end` or `settled`), the entry's id and attempt, and why it ended.
local function end_again(id, attempt, reason)
  if not read_entry(id) then
    local life = read_life(string.match(id, '^(.*)%-end$'))
    if not life then
      return
    end
    end_life(life, reason)
  end
  local entry = read_entry(id)
  if entry.node == me and entry.attempt > 0 and entry.attempt < attempt then
    redis.call('HSET', entry_key(id), 'attempt', attempt)  -- the one that the caller is at
  end
end

for n = 1, own_count, 4 do
  local what, id, attempt, reason = given(n), given(n + 1), tonumber(given(n + 2)), given(n + 3)
  local entry = read_entry(id)
  if what == 'end' then
    end_again(id, attempt, reason)
  elseif entry then
    strike(entry)
  end
end
return answer('replayed')
