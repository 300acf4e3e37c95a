-- Prolong reservations of calls in flight; never shortens one, never makes one that is gone.
--
-- KEYS  1 gate (see reserve.lua)
-- ARGV  1 JSON {lease_ms, held: [[reservation, scope...]]}
-- reply the reservations that are gone; none while the gate is shut: they may come back when the counters are rebuilt
local ask = cjson.decode(ARGV[1])
local is_open, gone = redis.call('EXISTS', KEYS[1]) == 1, {}
for _, held in ipairs(ask.held) do
  -- All its slots expire at one moment, whether or not they were swept yet.
  local expiry = redis.call('ZSCORE', key('slots', held[2]), held[1])
  if expiry and tonumber(expiry) > now then
    for i = 2, #held do redis.call('ZADD', key('slots', held[i]), 'XX', 'GT', now + ask.lease_ms, held[1]) end
  elseif is_open then
    gone[#gone + 1] = held[1]
  end
end
return gone
