-- Take places in a model's queue for jobs, in order: each in all its scopes, or nowhere. So that a queue holds only seconds of work.
--
-- KEYS  1 gate (see reserve.lua)
-- ARGV  1 JSON {lease_ms, scopes: [{name, most (calls in flight and places together; -1: no limit), most_places}],
--         jobs: [[reservation, urgent (0 | 1), index of a scope...]]}; the first scope is the model. An urgent job may go beyond by as
--         many places again: it is not to wait behind what the queue holds.
-- reply JSON {state: open | shut, jobs: [0 | 1]}
local ask = cjson.decode(ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 0 then return cjson.encode({state = 'shut', jobs = {}}) end
for _, scope in ipairs(ask.scopes) do
  for _, kind in ipairs({'slots', 'places'}) do redis.call('ZREMRANGEBYSCORE', key(kind, scope.name), '-inf', now) end
  scope.calls, scope.places = redis.call('ZCARD', key('slots', scope.name)), redis.call('ZCARD', key('places', scope.name))
  scope.is_new = scope.places == 0
end
local taken = {}
for index, job in ipairs(ask.jobs) do
  taken[index] = 1
  for i = 3, #job do
    local scope = ask.scopes[job[i]]
    local more = job[2] * scope.most_places
    if scope.places >= scope.most_places + more then taken[index] = 0 end
    if scope.most >= 0 and scope.calls + scope.places >= scope.most + more then taken[index] = 0 end
  end
  if taken[index] == 1 then
    for i = 3, #job do
      local scope = ask.scopes[job[i]]
      scope.places = scope.places + redis.call('ZADD', key('places', scope.name), now + ask.lease_ms, job[1])
    end
  end
end
for _, scope in ipairs(ask.scopes) do
  keep(scope.name, {kept = redis.call('HGET', key('state', scope.name), 'kept')}, {}, scope.is_new)
end
return cjson.encode({state = 'open', jobs = taken})
