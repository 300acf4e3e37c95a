-- What a provider said about its limits: a throttle, or its headers. It holds for the model and for its group, whose limits are one account's.
--
-- ARGV  1 JSON {scopes: [name], pause_ms (0: none), throttled (0 | 1), forget_ms, caps: {rate: units a minute}}
-- reply the longest pause in force, ms
--
-- A longer pause stays. A throttle takes a fifth off the limits, once in some seconds: the calls in flight are told the same
-- thing. A cap is believed until forget_ms after the provider last told it.
local HARDLY_MS, LESS, LEAST = 5000, 0.8, 0.05
local ask, paused_ms = cjson.decode(ARGV[1]), 0
for _, scope in ipairs(ask.scopes) do
  local field, state = key('state', scope), state_of(scope)
  local paused_until = math.max(number(state, 'paused_until') or 0, now + ask.pause_ms)
  if ask.pause_ms > 0 then redis.call('HSET', field, 'paused_until', whole(paused_until)) end
  if ask.throttled == 1 and now - (number(state, 'factor_at') or 0) > HARDLY_MS then
    redis.call('HSET', field, 'factor', string.format('%.4f', math.max(LEAST, LESS * factor_of(state))), 'factor_at', whole(now))
  end
  for name, cap in pairs(ask.caps) do
    redis.call('HSET', field, 'cap:' .. name, cap, 'cap:' .. name .. ':until', whole(now + ask.forget_ms))
  end
  redis.call('PEXPIRE', field, KEEP_MS)
  paused_ms = math.max(paused_ms, paused_until - now)
end
return paused_ms
