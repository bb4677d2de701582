-- What the caller has ended and settled a moment ago, told again: a failover may have brought it back. In groups of four:
-- what it was (`end` or `settled`), the entry's id and attempt, and why it ended.
for n = 1, own_count, 4 do
  local what, id, attempt, reason = given(n), given(n + 1), given(n + 2), given(n + 3)
  local entry = read_entry(id)
  if what == 'settled' then
    if entry then
      strike(entry)
    end
  elseif not entry then
    local life = read_life(string.match(id, '^(.*)%-end$'))
    if life then
      end_life(life, reason)
      if read_entry(id).attempt > 0 then
        redis.call('HSET', entry_key(id), 'attempt', attempt)
      end
    end
  end
end
return answer('replayed')
