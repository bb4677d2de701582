-- wshttp shared 1: forget
-- Once, too: sent again, it would drop what others have begun anew since.
return once(function()
  drop(name)
  return 1
end)
