-- Finds by ids, one after the other.
local found = {}
for n = 1, own_count do
  found[n] = look_up(given(n), false)
end
return answer('found', found)
