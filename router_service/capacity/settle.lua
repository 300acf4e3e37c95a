-- Give reservations back, and settle what was reserved against what was used. Idempotent: a reservation settles once.
--
-- KEYS  1 slots zset, 2 rates hash (see reserve.lua)
-- ARGV  1 number of rates n, then n x (name, ms per unit), then for each job: reservation, n x (units used - units reserved)
-- reply how many reservations were really given back
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local n, settled, change = tonumber(ARGV[1]), 0, {}
local at = 2 + 2 * n
while at <= #ARGV do
  if redis.call('ZREM', KEYS[1], ARGV[at]) == 1 then
    settled = settled + 1
    for i = 1, n do change[i] = (change[i] or 0) + tonumber(ARGV[at + i]) * tonumber(ARGV[1 + 2 * i]) end
  end
  at = at + 1 + n
end
for i = 1, n do
  if change[i] and change[i] ~= 0 then
    local name = ARGV[2 * i]
    local free = tonumber(redis.call('HGET', KEYS[2], name) or now)
    if change[i] > 0 then free = math.max(now, free) end
    redis.call('HSET', KEYS[2], name, string.format('%.3f', free + change[i]))
    -- A debt may be longer than what the hash is kept for; the margin is more than a window.
    redis.call('PEXPIRE', KEYS[2], math.max(1, math.ceil(free + change[i] - now) + 120000), 'GT')
  end
end
return settled
