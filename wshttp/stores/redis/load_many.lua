-- Finds by ids, one after the other. What cannot be read, since another program has written there, is not there.
local found = {}
for n = 1, own_count do
  local is_readable, what = pcall(look_up, given(n), false)
  found[n] = is_readable and what or {'none'}
end
return answer('found', found)
