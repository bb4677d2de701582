-- Ends a life; one caller does.
local ref, reason, token = given(1), given(2), given(3)
if earlier_answer(token) then
  hold_again(ref .. '-end')
  local shown = shown_end(ref)
  return shown and answer('ended', shown) or answer('none')
end
local life = read_living(ref)
if not life then
  return answer('none')
end
end_life(life, reason)
keep_answer(token, 1)
return answer('ended', shown_end(ref))
