-- Reserve capacity of one model for as many of the given jobs as fit now, in order; each gets all it needs or nothing.
--
-- KEYS  1 gate   string  present while the counters are known to be whole; no expiry
--       2 slots  zset    reservation -> expiry (ms, Redis time); expires an hour after its last use
--       3 rates  hash    rate -> the time (ms, fractional) at which it is free again; expires likewise
--       4 pause  string  present while the provider asked to wait; expires by itself
-- ARGV  1 lease_ms, 2 slots allowed, 3 horizon_ms (how far ahead a call may be set to start), 4 number of rates n,
--       then n x (name, ms per unit), then for each job: reservation, n x units
-- reply {state, wait_ms, start_ms...}: state is open | shut | paused | slots | <rate>, the first reason why a job did not
--       fit (open: all did); wait_ms until it is worth asking again (0: when a slot comes free);
--       one start time (ms, Redis time) for each job that was granted
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('EXISTS', KEYS[1]) == 0 then return {'shut', '0'} end
local paused = redis.call('PTTL', KEYS[4])
if paused > 0 then return {'paused', tostring(paused)} end

local lease, allowed, horizon, n = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local used = redis.call('ZCARD', KEYS[2])

local names, per_unit, free_at = {}, {}, {}
for i = 1, n do
  names[i] = ARGV[3 + 2 * i]
  per_unit[i] = tonumber(ARGV[4 + 2 * i])
  free_at[i] = math.max(now, tonumber(redis.call('HGET', KEYS[3], names[i]) or now))
end

local state, wait, starts = 'open', 0, {}
local at = 5 + 2 * n
while at <= #ARGV do
  if used >= allowed then state = 'slots' break end
  local start, slowest = now, nil
  for i = 1, n do
    if free_at[i] > start then start = free_at[i]; slowest = names[i] end
  end
  if start - now > horizon then state = slowest; wait = start - now - horizon break end
  redis.call('ZADD', KEYS[2], start + lease, ARGV[at])
  used = used + 1
  -- A rate is busy for as long as the job's units take at its speed: no window of a minute then holds more than a minute's.
  for i = 1, n do free_at[i] = math.max(free_at[i], start) + tonumber(ARGV[at + i]) * per_unit[i] end
  starts[#starts + 1] = string.format('%.0f', start)
  at = at + 1 + n
end

for i = 1, n do redis.call('HSET', KEYS[3], names[i], string.format('%.3f', free_at[i])) end
redis.call('PEXPIRE', KEYS[2], 3600000)
redis.call('PEXPIRE', KEYS[3], 3600000)
return {state, string.format('%.0f', wait), unpack(starts)}
