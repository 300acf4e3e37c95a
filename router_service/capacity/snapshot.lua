-- The live counters of several models at one instant.
--
-- KEYS  for each model: slots, rates, pause (see reserve.lua)
-- reply for each model {in flight, pause_ms, ms until its busiest rate is free}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local reply = {}
for key = 1, #KEYS, 3 do
  local wait = 0
  for _, free in ipairs(redis.call('HMGET', KEYS[key + 1], 'rpm', 'tpm', 'itpm', 'otpm')) do
    if free then wait = math.max(wait, tonumber(free) - now) end
  end
  reply[#reply + 1] = {
    redis.call('ZCOUNT', KEYS[key], now, '+inf'),
    math.max(0, redis.call('PTTL', KEYS[key + 2])),
    math.ceil(wait)}
end
return reply
