-- What every call says of itself.
--
--   ARGV[1]  the node                    ARGV[2]  the id of this call
--   ARGV[3]  when it was sent, until when it may be done, the node's lease and settings, for how long it keeps copies
--            (0: it keeps none), whether it has untold touches, and the number of the database, as doubles
--   ARGV[4]  earlier calls of this node whose answers it never heard, and whose gifts are not taken back yet
--   ARGV[5]  how many arguments of its own follow; then come pairs of a ref and when it was touched
local me, call, unheard, own_count = ARGV[1], ARGV[2], ARGV[4], tonumber(ARGV[5])
local sent_at, late_after, lease, tombstone, warn_before, copying, untold, database =
  struct.unpack('<dddddddd', ARGV[3])

local function given(n)
  return ARGV[5 + n]
end

-- Text that may be none is the empty text, or begins with a plus sign.
local function given_text(n)
  return given(n) ~= '' and string.sub(given(n), 2)
end
