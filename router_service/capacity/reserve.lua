-- Reserve capacity of one model for as many of the given jobs as fit now, in order; each gets all it needs or nothing.
--
-- KEYS  1 gate   string  present while the counters are known to be whole; no expiry
--       2 slots  zset    reservation -> expiry (ms, Redis time); expires an hour after its last use
--       3 rates  hash    <rate> -> when it is free again (ms); <rate>:most, <rate>:until -> the largest job that may share a
--                        window with the next one, and until when (ms); expires likewise, never while it is busy
--       4 pause  string  present while the provider asked to wait; expires by itself
-- ARGV  1 lease_ms, 2 slots allowed, 3 horizon_ms (how far ahead a call may be set to start), 4 window_ms, 5 number of rates n,
--       then n x (name, units a window), then for each job: reservation, n x units
-- reply {state, wait_ms, start_ms...}: state is open | shut | paused | slots | <rate>, the first reason why a job did not
--       fit (open: all did); wait_ms until it is worth asking again (0: when a slot comes free);
--       one start time (ms, Redis time) for each job that was granted
--
-- No sliding window ever holds more than its rate allows, one job larger than that running alone. With R units a window W and
-- jobs of at most m units: after a job of u the rate is busy for u x W / (R - m), so that the jobs before the last one of a
-- window have at most R - m units, and the last one at most m. A job larger than m waits (u - m) x W / (R - m) longer, which
-- makes room for it. Nothing that fits into a window needs to wait for longer than one. Where every job is one unit, m is 0:
-- whole numbers make room by themselves.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('EXISTS', KEYS[1]) == 0 then return {'shut', '0'} end
local paused = redis.call('PTTL', KEYS[4])
if paused > 0 then return {'paused', tostring(paused)} end

local lease, allowed, horizon = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local window, n = tonumber(ARGV[4]), tonumber(ARGV[5])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local used = redis.call('ZCARD', KEYS[2])

local rates = {}
for i = 1, n do
  local name = ARGV[4 + 2 * i]
  local kept = redis.call('HMGET', KEYS[3], name, name .. ':most', name .. ':until')
  rates[i] = {name = name, limit = tonumber(ARGV[5 + 2 * i]), free = tonumber(kept[1] or now - window),
    most = tonumber(kept[2] or 0), till = tonumber(kept[3] or 0)}
end

-- How long `units` keep a rate busy beside jobs of at most `most`.
local function span(rate, units, most)
  if most <= 1 then most = 0 end
  local alone = units * window / rate.limit
  if rate.limit <= most then return math.max(window, alone) end
  return math.max(alone, math.min(window, units * window / (rate.limit - most)))
end

local state, wait, starts = 'open', 0, {}
local at = 6 + 2 * n
while at <= #ARGV do
  if used >= allowed then state = 'slots' break end
  local start, slowest = now, nil
  for i = 1, n do
    local rate, units = rates[i], tonumber(ARGV[at + i])
    if rate.till < rate.free then rate.most = 0 end
    local free = rate.free
    if units > rate.most then free = free + math.min(window, span(rate, units - rate.most, rate.most)) end
    if free > start then start = free; slowest = rate.name end
  end
  if start - now > horizon then state = slowest; wait = start - now - horizon break end
  redis.call('ZADD', KEYS[2], start + lease, ARGV[at])
  used = used + 1
  for i = 1, n do
    local rate, units = rates[i], tonumber(ARGV[at + i])
    if units >= rate.most then rate.most = units; rate.till = start + window end
    rate.free = start + span(rate, units, rate.most)
  end
  starts[#starts + 1] = string.format('%.0f', math.ceil(start))
  at = at + 1 + n
end

local kept_ms = 3600000
for i = 1, n do
  local rate = rates[i]
  kept_ms = math.max(kept_ms, math.ceil(rate.free - now + window))
  redis.call('HSET', KEYS[3], rate.name, string.format('%.3f', rate.free),
    rate.name .. ':most', rate.most, rate.name .. ':until', string.format('%.3f', rate.till))
end
redis.call('PEXPIRE', KEYS[2], 3600000)
redis.call('PEXPIRE', KEYS[3], kept_ms)
return {state, string.format('%.0f', math.ceil(wait)), unpack(starts)}
