-- A session as it is stored: a hash `s:<ref>`, whose field `n` has the numbers that change with nearly every call.
local NUMBERS = '<ddddddd'

local function live_key(ref)
  return root .. ':s:' .. ref
end

local function ended_key(ref)
  return root .. ':e:' .. ref
end

-- Where a session is kept: nobody needs to know whether it has ended.
local function stored_key(ref)
  return redis.call('EXISTS', live_key(ref)) == 1 and live_key(ref) or ended_key(ref)
end

-- All of a session, as the caller reads it; nil where nothing is left.
local function shown_session(ref)
  local fields = redis.call('HGETALL', stored_key(ref))
  return #fields > 0 and fields or nil
end

-- What a step has to know of a live session; nil where there is none.
local function read_life(ref)
  local found = redis.call('HMGET', live_key(ref), 'n', 'u', 'b', 'k', 'o')
  if not found[1] then
    return nil
  end
  local life = {ref = ref, user = found[2], bucket = found[3], key = found[4], starting = found[5]}
  life.idle, life.absolute, life.restarted, life.access, life.warned, life.size, life.revision =
    struct.unpack(NUMBERS, found[1])
  return life
end

-- The same where many are looked at: one that cannot be read, since another program has written there, stops nothing.
local function try_life(ref)
  local is_readable, life = pcall(read_life, ref)
  return is_readable and life or nil
end

local function packed(life)
  return struct.pack(NUMBERS, life.idle, life.absolute, life.restarted, life.access, life.warned, life.size,
    life.revision)
end

local function write_numbers(life)
  redis.call('HSET', live_key(life.ref), 'n', packed(life))
end

local function deadlines(life)
  local idle = life.idle > 0 and life.access + forgiven + life.idle or math.huge
  local absolute = life.absolute > 0 and life.restarted + life.absolute or math.huge
  return idle, absolute
end

-- Why a session is over by now, or nil while it is not.
local function over(life)
  local idle, absolute = deadlines(life)
  if at < idle and at < absolute then
    return nil
  end
  return idle <= absolute and 'idle' or 'absolute'
end

-- One that goes on, or nil.
local function read_living(ref)
  local life = read_life(ref)
  return life and not over(life) and life or nil
end

local function try_living(ref)
  local life = try_life(ref)
  return life and not over(life) and life or nil
end

local function warning_at(life)
  if warn_before <= 0 then
    return math.huge
  end
  local ahead = life.idle > 0 and math.min(warn_before, life.idle / 2) or warn_before
  return math.min(deadlines(life)) - ahead
end

-- When `take_due` has to look at it next: it may be too early, since touches do not move it, and is never too late.
local function enter_due(life)
  local next_at = math.min(deadlines(life))
  if life.warned == 0 then
    next_at = math.min(next_at, warning_at(life))
  end
  if next_at == math.huge then
    redis.call('ZREM', root .. ':due', life.ref)
  else
    redis.call('ZADD', root .. ':due', next_at, life.ref)
  end
end

local function write_access(life, accessed)
  life.access, life.warned, life.revision = accessed, 0, life.revision + 1
  write_numbers(life)
  if not life.user then
    redis.call('ZADD', root .. ':idle', accessed, life.ref)
  end
end

-- Activity now. It is written now and then only; what is not, the node tells later.
local function touch(life)
  local patience = life.idle > 0 and math.min(TOUCH_PATIENCE, life.idle / TOUCHES_PER_TIMEOUT) or TOUCH_PATIENCE
  if life.warned > 0 or idle_at - life.access >= patience then
    write_access(life, idle_at)
  end
end

-- Activity that a node has seen a while ago, on the idle clock; in an outage, which then may have been forgiven.
local function tell_touch(ref, accessed)
  local life = try_life(ref)
  accessed = math.min(accessed, idle_at)
  if life and life.access < accessed then
    write_access(life, accessed)
  end
end

-- Copies that nodes have are no longer what the session is. Channels are the same in all databases of a server.
local function drop_copies(ref)
  if at < copied_until then
    redis.call('PUBLISH', string.format('%s:words:%d', root, database), cjson.encode({'drop', ref}))
  end
end
