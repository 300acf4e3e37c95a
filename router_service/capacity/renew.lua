-- Prolong reservations of calls in flight; never shortens one, never makes one that is gone.
--
-- KEYS  1 slots zset (see reserve.lua)
-- ARGV  1 lease_ms, then reservations
-- reply the reservations that are gone
local time = redis.call('TIME')
local expiry = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1])
local gone = {}
for i = 2, #ARGV do
  if not redis.call('ZSCORE', KEYS[1], ARGV[i]) then gone[#gone + 1] = ARGV[i]
  else redis.call('ZADD', KEYS[1], 'XX', 'GT', expiry, ARGV[i]) end
end
redis.call('PEXPIRE', KEYS[1], 3600000)
return gone
