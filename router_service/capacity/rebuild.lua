-- After Redis lost its state: put back every call in flight and what each rate has started of late, open the gate.
--
-- KEYS  1 gate: holds the run id of the server that the counters were made on. Another id: a server that was started again, or
--         took over, with counters of an earlier moment; they are thrown away.
-- ARGV  1 JSON {run_id, loss (what waybill:loss has held since before the rows were read), calls: [[reservation, left_ms, scope...]],
--         started: [[scope, rate, ms ago, units]], pauses: [[scope, ms]], measures: [[scope, {name: value}]]}
-- reply 1, or 0 where the gate was open already (somebody else was first), or all was lost again since the rows were read
local LOSS, MEASURED = 'waybill:loss', 20 -- measures weigh as much as those of so many calls
local ask = cjson.decode(ARGV[1])
if redis.call('GET', KEYS[1]) == ask.run_id or redis.call('GET', LOSS) ~= ask.loss then return 0 end
local COUNTERS, cursor = {slots = true, places = true, state = true, log = true}, '0'
repeat
  local page = redis.call('SCAN', cursor, 'MATCH', 'waybill:*:*', 'COUNT', 1000)
  cursor = page[1]
  for _, found in ipairs(page[2]) do
    if COUNTERS[string.match(found, '^waybill:(%a+):')] then redis.call('DEL', found) end
  end
until cursor == '0'
local touched = {}
for _, each in ipairs(ask.started) do
  local scope, name, at = each[1], each[2], now - each[3]
  put(key('log:' .. name, scope), whole(math.floor(at / WINDOWS[name].grain)), each[4])
  redis.call('HINCRBYFLOAT', key('state', scope), name .. ':sum', exact(each[4]))
  touched[scope] = touched[scope] or {}
  touched[scope][name] = true
end
for _, call in ipairs(ask.calls) do
  for i = 3, #call do
    redis.call('ZADD', key('slots', call[i]), now + call[2], call[1])
    touched[call[i]] = touched[call[i]] or {}
  end
end
for _, pause in ipairs(ask.pauses) do
  redis.call('HSET', key('state', pause[1]), 'paused_until', whole(now + pause[2]))
  touched[pause[1]] = touched[pause[1]] or {}
end
for _, each in ipairs(ask.measures) do
  redis.call('HSET', key('state', each[1]), 'calls', MEASURED)
  for name, value in pairs(each[2]) do redis.call('HSET', key('state', each[1]), name, string.format('%.6g', value)) end
  touched[each[1]] = touched[each[1]] or {}
end
for scope, names in pairs(touched) do keep(scope, {}, names, true) end
redis.call('SET', KEYS[1], ask.run_id)
redis.call('DEL', LOSS)
return 1
