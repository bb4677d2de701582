-- The ledger. An entry is a hash `l:<id>`; the id says whose it is and of which kind, so one life has one start and one end
-- for good, whatever a failover brings back. It is in one of these places:
--
--   `n:<node>`   that node was given it; as `<call>/<id>`, so that what a call gave is found if nobody heard its answer
--   `orphans`    nobody has it; in the order in which it came to be
--   `p:<ref>`    it waits for the session's start, which somebody else delivers
local function entry_key(id)
  return root .. ':l:' .. id
end

local function read_entry(id)
  local found = redis.call('HMGET', entry_key(id), 'kind', 'ref', 'node', 'call', 'attempt', 'seq', 'told')
  if not found[1] then
    return nil
  end
  return {id = id, kind = found[1], ref = found[2], node = found[3], call = found[4], attempt = tonumber(found[5]),
    seq = tonumber(found[6]), told = found[7]}
end

-- An entry that nobody has yet. `told`: somebody is just being told that its session has ended.
local function new_entry(kind, id, ref, hash, told)
  local entry = {id = id, kind = kind, ref = ref, node = '', call = '', attempt = 0, told = told}
  entry.seq = redis.call('HINCRBY', root .. ':meta', 'seq', 1)
  redis.call('HINCRBY', root .. ':meta', 'owed', 1)
  redis.call('HINCRBY', hash, 'q', 1)
  redis.call('HSET', entry_key(id), 'kind', kind, 'ref', ref, 'seq', entry.seq, 'told', told, 'node', '', 'call', '',
    'attempt', 0)
  return entry
end

local function note_owner(entry)
  entry.node, entry.call = me, call
  redis.call('HSET', entry_key(entry.id), 'node', me, 'call', call, 'attempt', entry.attempt, 'told', entry.told)
  redis.call('ZADD', root .. ':n:' .. me, 0, call .. '/' .. entry.id)
  redis.call('ZADD', root .. ':nodes', 'NX', at + lease, me)
end

-- The caller is to deliver it.
local function hand_out(entry)
  entry.attempt, entry.told = entry.attempt + 1, '1'
  note_owner(entry)
end

local function orphan(entry)
  redis.call('ZADD', root .. ':orphans', entry.seq, entry.id)
end

local function park(entry)
  redis.call('ZADD', root .. ':p:' .. entry.ref, entry.seq, entry.id)
end

-- Whether the caller delivers an entry, as far as it knows: it may not have heard that it was given it.
local function delivers(id)
  local owner = redis.call('HMGET', entry_key(id), 'node', 'call')
  return owner[1] == me and not redis.call('ZSCORE', root .. ':orphans', id)
    and not string.find(unheard, owner[2] .. ' ', 1, true)
end

-- Whether the caller may be given more of a session: its start is over, or is the caller's own to deliver.
local function may_follow(ref, starting)
  return not starting or delivers(ref .. '-start')
end

-- What a node was given and will not deliver goes to whoever asks next. `member` is as in `n:<node>`.
local function take_back(node, member)
  redis.call('ZREM', root .. ':n:' .. node, member)
  local given_by, id = string.match(member, '^([^/]*)/(.*)$')
  local entry = read_entry(id)
  if not entry or entry.node ~= node or entry.call ~= given_by then
    return
  end
  if entry.attempt > 0 then
    orphan(entry)
  else
    -- It waits for its start, and this node had told nobody yet, for all we know: who gets it does everything.
    redis.call('HSET', entry_key(id), 'attempt', 1)
  end
end

-- The start of a session is over: what waited for it may go on.
local function release_parked(ref)
  for _, id in ipairs(redis.call('ZRANGE', root .. ':p:' .. ref, 0, -1)) do
    local entry = read_entry(id)
    if entry then
      redis.call('ZREM', root .. ':n:' .. entry.node, entry.call .. '/' .. id)
      orphan(entry)
    end
  end
  redis.call('DEL', root .. ':p:' .. ref)
end

-- Its callbacks have run.
local function strike(entry)
  local ref = entry.ref
  redis.call('HLEN', stored_key(ref))  -- refused here, with nothing half done, where it is another program's
  redis.call('ZCARD', root .. ':p:' .. ref)
  redis.call('DEL', entry_key(entry.id))
  redis.call('ZREM', root .. ':n:' .. entry.node, entry.call .. '/' .. entry.id)
  redis.call('ZREM', root .. ':orphans', entry.id)
  redis.call('HINCRBY', root .. ':meta', 'owed', -1)
  local hash = stored_key(ref)
  if redis.call('HINCRBY', hash, 'q', -1) <= 0 and hash == ended_key(ref) then
    redis.call('DEL', hash)  -- the last data of an ended session, which nobody needs any more
  end
  if entry.kind == 'start' then
    local life = read_life(ref)
    if life then
      life.revision = life.revision + 1
      write_numbers(life)
    end
    redis.call('HDEL', hash, 'o')
    redis.call('DEL', root .. ':a:' .. ref)  -- whoever settles it was told of the creation
    release_parked(ref)
  end
end
