-- A node comes, or comes back: the node, its lease, when it last heard of us (0: never), the secret that it knows, and the
-- number of the database.
local me, lease, since, secret, database = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
for _, list in ipairs({'all', 'idle', 'due', 'calls', 'orphans', 'nodes'}) do
  local kind = redis.call('TYPE', root .. ':' .. list).ok
  if kind ~= 'none' and kind ~= 'zset' then
    return answer('foreign')
  end
end
if not meta[1] then
  if redis.call('EXISTS', root .. ':meta') == 1 then
    return answer('foreign')
  end
  redis.call('HSET', root .. ':meta', 'schema', SCHEMA, 'seen', at)
  -- Others may be here who have not asked since all was lost: what they know of sessions is no more.
  redis.call('PUBLISH', string.format('%s:words:%d', root, database), cjson.encode({'emptied'}))
elseif meta[1] ~= SCHEMA then
  return answer('schema', meta[1])
end
if since > 0 then
  forgive(since)
end
if secret ~= '' then
  redis.call('HSETNX', root .. ':meta', 'secret', secret)
end
return answer('joined', renew_lease(me, lease))
