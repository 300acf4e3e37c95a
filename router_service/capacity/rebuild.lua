-- After Redis lost its state: put back the reservation of every call in flight and what each rate has given, open the gate.
--
-- KEYS  1 gate, then for each model: slots, rates (see reserve.lua)
-- ARGV  1 the server's run id, then for each model: number of rates, then (name, ms that it is busy for) each; number of reservations, then
--       (reservation, left_ms) each
-- reply 1, or 0 where the gate was open already (somebody else was first)
--
-- The gate holds the run id of the server that the counters were made on. Another id: a server that was started again, or took
-- over, with counters of an earlier moment; they are thrown away.
if redis.call('GET', KEYS[1]) == ARGV[1] then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = 2
for key = 2, #KEYS, 2 do
  redis.call('DEL', KEYS[key], KEYS[key + 1])
  local rates = tonumber(ARGV[at])
  for i = 1, rates do redis.call('HSET', KEYS[key + 1], ARGV[at + 2 * i - 1], now + tonumber(ARGV[at + 2 * i])) end
  at = at + 2 * rates + 1
  local reservations = tonumber(ARGV[at])
  for i = 1, reservations do
    redis.call('ZADD', KEYS[key], now + tonumber(ARGV[at + 2 * i]), ARGV[at + 2 * i - 1])
  end
  at = at + 2 * reservations + 1
end
redis.call('SET', KEYS[1], ARGV[1])
return 1
