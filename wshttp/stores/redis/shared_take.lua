-- wshttp shared 1: take
return once(function()
  local value = redis.call('LPOP', key) -- its only item; the list is gone with it
  if value then
    drop(name)
  end
  return value
end)
