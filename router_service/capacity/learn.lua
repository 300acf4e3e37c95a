-- What a provider said about its limits: a throttle, or its headers.
--
-- ARGV  1 JSON {scope, pause_ms (0: none), throttled (0 | 1), forget_ms, caps: {rate: units a minute}}
-- reply the pause in force, ms
--
-- A longer pause stays. A throttle takes a fifth off the limits, once in some seconds: the calls in flight are told the same
-- thing. A cap is believed until forget_ms after the provider last told it.
local HARDLY_MS, LESS, LEAST = 5000, 0.8, 0.05
local ask = cjson.decode(ARGV[1])
local field, state = key('state', ask.scope), state_of(ask.scope)
local paused_until = math.max(number(state, 'paused_until') or 0, now + ask.pause_ms)
if ask.pause_ms > 0 then redis.call('HSET', field, 'paused_until', whole(paused_until)) end
if ask.throttled == 1 and now - (number(state, 'factor_at') or 0) > HARDLY_MS then
  redis.call('HSET', field, 'factor', string.format('%.4f', math.max(LEAST, LESS * factor_of(state))), 'factor_at', whole(now))
end
for name, cap in pairs(ask.caps) do
  redis.call('HSET', field, 'cap:' .. name, cap, 'cap:' .. name .. ':until', whole(now + ask.forget_ms))
end
redis.call('PEXPIRE', field, KEEP_MS)
return math.max(0, paused_until - now)
