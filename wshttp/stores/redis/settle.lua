-- Strikes an entry, if this attempt is the last and was the caller's; says whether.
local entry = read_entry(given(1))
if entry and entry.node == me and entry.attempt == tonumber(given(2)) then
  strike(entry)
  return answer('settled', 1)
end
return answer('settled', 0)
