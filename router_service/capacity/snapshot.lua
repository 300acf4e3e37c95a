-- The live counters of several models at one instant.
--
-- ARGV  1 JSON {scopes: [{name, slots, burst_ms, rates (see reserve.lua), account: [its name, and that of its group if it has one]}]}
-- reply JSON [{now, calls, places, paused_ms, broken_ms, failing (0 | 1), factor, rate, wait_ms, rates: [[name, limit in force, units
--         in the window, units that leave it first, pace_ms, first_ms, last_ms]], measures (see scope.lua), sums (see settle.lua; missing before the first
--         call has ended), took: [letters of each size]}]: broken_ms is -1 while the breaker lets a single call through; rate
--         and wait_ms: the rate that lets the next call wait longest, and how long. pace_ms: until the pace lets a call start;
--         first_ms and last_ms: until the first and the last of the units leave the window.

-- The units within a rate's window, when the first of them leave it, and how many these are. What has left is not counted;
-- reserve.lua takes it out.
local function in_window(log, window, sum)
  local gone = math.floor((now - window.ms) / window.grain) - 1
  local first = redis.call('ZRANGE', log, 0, 0, 'WITHSCORES')
  if first[2] and tonumber(first[2]) <= gone then
    first = redis.call('ZRANGEBYSCORE', log, '(' .. gone, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    local left = first[2] and redis.call('ZRANGEBYSCORE', log, '-inf', gone) or {}
    for _, member in ipairs(left) do sum = sum - units_in(member) end
  end
  if not first[2] then return 0, 0, 0 end
  return math.max(0, sum), (tonumber(first[2]) + 1) * window.grain + window.ms - now, units_in(first[1])
end

local reply = {}
for index, scope in ipairs(cjson.decode(ARGV[1]).scopes) do
  local state = state_of(scope.name)
  local broken_until, rate, wait = number(state, 'broken_until'), nil, 0
  local paused_until = 0
  for _, name in ipairs(scope.account) do
    paused_until = math.max(paused_until, tonumber(redis.call('HGET', key('state', name), 'paused_until') or 0))
  end
  local rates = {}
  for name, limit in pairs(limits_of(scope.rates, state)) do
    local window = WINDOWS[name]
    local used, first_ms, first = in_window(key('log:' .. name, scope.name), window, number(state, name .. ':sum') or 0)
    local pace_ms = math.max(0, window.paced and (number(state, name .. ':free') or 0) - scope.burst_ms - now or 0)
    local last_ms = (number(state, name .. ':last') or now) + window.grain + window.ms - now
    rates[#rates + 1] = {name, limit, used, first, pace_ms, first_ms, math.max(first_ms, last_ms)}
    local ms = used > 0 and used + 1 > limit and math.max(pace_ms, first_ms) or pace_ms
    if ms > wait then rate, wait = name, ms end
  end
  local sums = state.sums and {struct.unpack(SUMS, state.sums)}
  if sums then sums[15] = nil end -- where unpack has stopped
  reply[index] = {
    now = now, rates = rates, sums = sums,
    took = {state.took1 or '', state.took2 or '', state.took3 or '', state.took4 or ''},
    calls = redis.call('ZCOUNT', key('slots', scope.name), now, '+inf'),
    places = redis.call('ZCOUNT', key('places', scope.name), now, '+inf'),
    paused_ms = math.max(0, paused_until - now),
    broken_ms = broken_until and (broken_until > now and broken_until - now or -1) or 0,
    failing = (number(state, 'failing_until') or 0) > now and 1 or 0,
    factor = factor_of(state), rate = rate, wait_ms = math.ceil(wait), measures = measures_of(state)}
end
return cjson.encode(reply)
