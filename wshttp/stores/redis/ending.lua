-- The end of a session: the only place where one ends.
local function bury(key, ref, reason, start)
  local keep = math.ceil(tombstone * 1000)
  local name = root .. ':k:' .. key
  if keep > 0 then
    redis.call('SET', name, 't' .. cmsgpack.pack({at + tombstone, ref, reason, start}), 'PX', keep)
  else
    redis.call('DEL', name)
  end
end

local calls_forgotten = 0

local function forget_calls(ref)
  local members = redis.call('HVALS', root .. ':c:' .. ref)
  for n, scheduled in ipairs(members) do
    members[n] = string.match(scheduled, '^[^ ]*')
  end
  for n = 1, #members, 500 do
    redis.call('ZREM', root .. ':calls', unpack(members, n, math.min(n + 499, #members)))
  end
  redis.call('DEL', root .. ':c:' .. ref)
  calls_forgotten = calls_forgotten + #members
end

local function unlist_user(life)
  if life.user then
    redis.call('ZREM', root .. ':u:' .. life.user, life.ref)
  else
    redis.call('ZREM', root .. ':idle', life.ref)
  end
end

-- Looks at all that a step is going to write for a life, before it writes: where one key is another program's, the server
-- refuses here, and nothing is half done.
local function check_keys(life)
  local ref = life.ref
  for _, list in ipairs({life.user and ':u:' .. life.user or ':idle', ':b:' .. life.bucket, ':all', ':due', ':calls',
    ':orphans', ':p:' .. ref, ':n:' .. me}) do
    redis.call('ZCARD', root .. list)
  end
  for _, hash in ipairs({':c:' .. ref, ':l:' .. ref .. '-start', ':l:' .. ref .. '-end'}) do
    redis.call('HLEN', root .. hash)
  end
  redis.call('STRLEN', root .. ':k:' .. life.key)
end

-- Takes a life out of everything. Its last data stays until what is owed for it is settled.
local function take_out(life, reason)
  local ref, ended = life.ref, ended_key(life.ref)
  check_keys(life)
  redis.call('ZREM', root .. ':all', ref)
  redis.call('ZREM', root .. ':due', ref)
  redis.call('ZREM', root .. ':b:' .. life.bucket, ref)
  unlist_user(life)
  forget_calls(ref)
  redis.call('DEL', root .. ':lock:' .. ref, root .. ':lockq:' .. ref)
  redis.call('RENAME', live_key(ref), ended)
  life.revision, life.reason = life.revision + 1, reason
  redis.call('HSET', ended, 'n', packed(life), 'y', reason)
  if redis.call('GET', root .. ':k:' .. life.key) == 's' .. ref then
    bury(life.key, ref, reason, redis.call('HGET', ended, 't') or '')
  end
  drop_copies(ref)
end

-- The caller is told of an end: it delivers all of it, or, while somebody else delivers the start, closes sockets only.
local function tell_end(entry, starting)
  if may_follow(entry.ref, starting) then
    hand_out(entry)
  else
    entry.told = '1'
    note_owner(entry)
    park(entry)
  end
end

-- Ends a life on behalf of the caller.
local function end_life(life, reason)
  take_out(life, reason)
  local entry = new_entry('end', life.ref .. '-end', life.ref, ended_key(life.ref), '1')
  tell_end(entry, life.starting)
end

-- Ends one that time has ended, on behalf of whoever asks `take_due` next.
local function end_overdue(life, reason)
  take_out(life, reason)
  orphan(new_entry('end', life.ref .. '-end', life.ref, ended_key(life.ref), ''))
end

-- An end as the caller is told of it; nil where it is settled already.
local function shown_end(ref)
  local id = ref .. '-end'
  local entry = read_entry(id)
  if not entry then
    return nil
  end
  local mine = entry.node == me and entry.attempt > 0
  return {ref, math.max(entry.attempt, 1), mine and 0 or 1, redis.call('HGETALL', ended_key(ref))}
end

local function shown_ends(refs)
  local shown = {}
  for _, ref in ipairs(refs) do
    shown[#shown + 1] = shown_end(ref)
  end
  return shown
end
