-- After Redis lost its state: put back the reservation of every call in flight and what each rate has given, open the gate.
--
-- KEYS  1 gate, then for each model: slots, rates (see reserve.lua)
-- ARGV  for each model: number of rates, then (name, ms that it is busy for) each; number of reservations, then
--       (reservation, left_ms) each
-- reply 1, or 0 where the gate was open already (somebody else was first)
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = 1
for key = 2, #KEYS, 2 do
  local rates = tonumber(ARGV[at])
  for i = 1, rates do redis.call('HSET', KEYS[key + 1], ARGV[at + 2 * i - 1], now + tonumber(ARGV[at + 2 * i])) end
  at = at + 2 * rates + 1
  local reservations = tonumber(ARGV[at])
  for i = 1, reservations do
    redis.call('ZADD', KEYS[key], now + tonumber(ARGV[at + 2 * i]), ARGV[at + 2 * i - 1])
  end
  at = at + 2 * reservations + 1
end
redis.call('SET', KEYS[1], '1')
return 1
