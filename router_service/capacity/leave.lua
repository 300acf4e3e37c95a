-- Give places back whose jobs will not be called under them: routed nowhere, cancelled, given back.
--
-- ARGV  1 JSON {scopes: [name], reservations: [reservation]}
-- reply how many places were given back
local ask = cjson.decode(ARGV[1])
local left = 0
for _, scope in ipairs(ask.scopes) do
  for _, reservation in ipairs(ask.reservations) do left = left + redis.call('ZREM', key('places', scope), reservation) end
end
return left
