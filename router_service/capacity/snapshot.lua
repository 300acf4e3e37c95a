-- The live counters of several models at one instant.
--
-- ARGV  1 JSON {scopes: [{name, slots, burst_ms, rates (see reserve.lua), account: [its name, and that of its group if it has one]}]}
-- reply JSON [{calls, places, paused_ms, broken_ms, failing (0 | 1), factor, rate, wait_ms, measures (see scope.lua)}]: broken_ms is
--         -1 while the breaker lets a single call through; rate and wait_ms: the rate that lets the next call wait longest, and
--         how long.
local reply = {}
for index, scope in ipairs(cjson.decode(ARGV[1]).scopes) do
  local state = state_of(scope.name)
  local broken_until, rate, wait = number(state, 'broken_until'), nil, 0
  local paused_until = 0
  for _, name in ipairs(scope.account) do
    paused_until = math.max(paused_until, tonumber(redis.call('HGET', key('state', name), 'paused_until') or 0))
  end
  for name, limit in pairs(limits_of(scope.rates, state)) do
    local window = WINDOWS[name]
    local first = redis.call('ZRANGE', key('log:' .. name, scope.name), 0, 0, 'WITHSCORES')
    local ms = window.paced and (number(state, name .. ':free') or 0) - scope.burst_ms - now or 0
    if first[2] and (number(state, name .. ':sum') or 0) + 1 > limit then
      ms = math.max(ms, (tonumber(first[2]) + 1) * window.grain + window.ms - now)
    end
    if ms > wait then rate, wait = name, ms end
  end
  reply[index] = {
    calls = redis.call('ZCOUNT', key('slots', scope.name), now, '+inf'),
    places = redis.call('ZCOUNT', key('places', scope.name), now, '+inf'),
    paused_ms = math.max(0, paused_until - now),
    broken_ms = broken_until and (broken_until > now and broken_until - now or -1) or 0,
    failing = (number(state, 'failing_until') or 0) > now and 1 or 0,
    factor = factor_of(state), rate = rate, wait_ms = math.ceil(wait), measures = measures_of(state)}
end
return cjson.encode(reply)
