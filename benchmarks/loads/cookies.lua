-- For wrk: sends back the cookie that it was given last, as a browser does.

dofile("plain.lua")

local message

function init()
  message = wrk.format()
end

function request()
  return message
end

function response(status, headers)
  local given = headers["Set-Cookie"] or headers["set-cookie"]
  if given then
    wrk.headers["Cookie"] = string.match(given, "^[^;]*")
    message = wrk.format()
  end
end
