-- Finds by ids, one after the other.
local found = {}
for n = 1, tonumber(ARGV[4]) do
  found[n] = look_up(given(n), false)
end
return answer('found', found)
