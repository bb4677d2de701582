-- The server's own time, in seconds; the only thing that tests replace.
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end
