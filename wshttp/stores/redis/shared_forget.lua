-- wshttp shared 1: forget
-- Once, too: sent again, it would drop what others have begun anew since.
return once(function()
  redis.call('DEL', key)
  redis.call('ZREM', index, name)
  return 1
end)
