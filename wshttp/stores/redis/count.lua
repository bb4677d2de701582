-- Counts sessions: in all, of a user, or of an address.
local field, value = given(1), given_text(2)
if field == '' then
  return answer('count', count_living(root .. ':all'))
end
return answer('count', count_living(root .. (field == 'user' and ':u:' or ':b:') .. value, field, value))
