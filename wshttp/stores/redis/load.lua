-- Finds by id: a key, and whether to touch.
return answer(unpack(look_up(given(1), given(2) == '1')))
