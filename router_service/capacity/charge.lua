-- Add what tenants were served to their finish tags, and move the virtual time on (see routing/fairness.py: `charged`).
--
-- KEYS  1 fair  hash  'v' -> the virtual time, 't:<tenant>' -> its finish tag; expires an hour after its last use
-- ARGV  1 most tenants to be kept where they owe nothing, then for each tenant: name, tokens over weight in all, the same of
--       its last job
-- reply the virtual time
local before = tonumber(redis.call('HGET', KEYS[1], 'v') or 0)
local now = before
for i = 2, #ARGV, 3 do
  local name = 't:' .. ARGV[i]
  local finish = math.max(before, tonumber(redis.call('HGET', KEYS[1], name) or 0)) + tonumber(ARGV[i + 1])
  redis.call('HSET', KEYS[1], name, string.format('%.17g', finish))
  now = math.max(now, finish - tonumber(ARGV[i + 2]))
end
redis.call('HSET', KEYS[1], 'v', string.format('%.17g', now))
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[1]) then
  local kept = redis.call('HGETALL', KEYS[1])
  for i = 1, #kept, 2 do
    if kept[i] ~= 'v' and tonumber(kept[i + 1]) <= now then redis.call('HDEL', KEYS[1], kept[i]) end
  end
end
redis.call('PEXPIRE', KEYS[1], 3600000)
return string.format('%.17g', now)
