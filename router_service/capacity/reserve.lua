-- Reserve capacity for calls that are ready to be made, in order: each gets all it needs of all its scopes, or nothing.
--
-- KEYS  1 gate: string, present while the counters are known to be whole; no expiry
-- ARGV  1 JSON {lease_ms, horizon_ms (how far ahead a call may be set to start),
--         scopes: [{name, kind, slots (-1: no limit), burst_ms, rates: {rate: units a window}}],
--         jobs: [[reservation, requests, tokens in, tokens out, urgent (0 | 1), index of a scope (from 1)...]]}; the first scope is the model
-- reply JSON {now, state, wait_ms, next_ms, free, measures, jobs: [start (ms) | {why, wait_ms}]}: state is open | shut | paused | breaker | slots | <rate>, what
--         stopped the first job that the model or its group had no room for; those after it are not looked at, so that a large
--         job is not overtaken by small ones for ever. A job that only its tenant or batch holds up has {why, wait_ms} in its place.
--         wait_ms: when it is worth asking again; 0 where a call must end first, which is announced (settle.lua).
--         next_ms: how long until the rates of the model and its group let one more job like the last one (or the mean one) start.
--         free: slots that are left. measures: of the model's calls, as in snapshot.lua. Without jobs it only tells how things stand.
--
-- A rate is kept twice. The log is exact: a start is granted only where the units started within the window before it, and its
-- own, are within the limit, so that no sliding window ever holds more; a job larger than the limit starts when its window
-- is empty. GCRA (ITU-T I.371) paces the starts with a burst of burst_ms worth of the rate, so that a minute is not spent
-- in its first second; what has not been used before does not start with a burst.
--
-- A job that waits until enough has left a full log has its turn there: nobody else's job starts before it, but urgent ones, or
-- small ones of other workers would take all that leaves for ever. A turn is lost where its job is not asked for again in time.
local TURN_MS, TURN_LATE_MS, TURN_AGAIN_MS = 1000, 200, 20
local ask = cjson.decode(ARGV[1])
local reply = {now = now, state = 'open', wait_ms = 0, jobs = {}}
if redis.call('EXISTS', KEYS[1]) == 0 then
  reply.state = 'shut'
  return cjson.encode(reply)
end

-- A rate of a scope as it is now; what has left its window is forgotten.
local function open_rate(scope, state, name, limit)
  local window, log = WINDOWS[name], key('log:' .. name, scope.name)
  -- Less than one unit a window is kept by the pace alone: it has no burst, but the window's margin.
  local burst = limit < 1 and window.nominal and window.nominal - window.ms or scope.burst_ms
  local rate = {name = name, limit = limit, window = window, log = log, burst = burst, granted = {},
    sum = number(state, name .. ':sum') or 0, last = number(state, name .. ':last') or 0,
    free = number(state, name .. ':free') or now + burst}
  local gone = math.floor((now - window.ms) / window.grain) - 1
  local first = redis.call('ZRANGE', log, 0, 0, 'WITHSCORES')[2]
  if first and tonumber(first) <= gone then
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', log, '-inf', gone)) do rate.sum = rate.sum - units_in(member) end
    redis.call('ZREMRANGEBYSCORE', log, '-inf', gone)
    first = redis.call('EXISTS', log) == 1
  end
  if not first then rate.sum, scope.is_new = 0, true end
  return rate
end

-- Starts that were granted go to the log together: many are in one bucket.
local function write_log(rate)
  for at, units in pairs(rate.granted) do put(rate.log, at, units) end
  rate.granted = {}
end

-- When the rate lets a job of so many units start: now at the earliest, never before a start that was granted already.
local function earliest(rate, units)
  if rate.asked == units then return rate.answer end
  local start, left, at = math.max(now, rate.last), rate.sum, 0
  if rate.window.paced then start = math.max(start, rate.free - rate.burst) end
  local function fits() return left + units <= rate.limit or left <= 0 end
  local paced = start
  if not fits() then write_log(rate) end
  while not fits() do
    local entries = redis.call('ZRANGE', rate.log, at, at + 63, 'WITHSCORES')
    if #entries == 0 then break end
    local leaves
    for i = 1, #entries, 2 do
      left, leaves = left - units_in(entries[i]), entries[i + 1]
      if fits() then break end
    end
    start = math.max(start, (tonumber(leaves) + 1) * rate.window.grain + rate.window.ms)
    at = at + 64
  end
  rate.is_full = start > paced
  rate.asked, rate.answer = units, math.ceil(start)
  return rate.answer
end

local function take(rate, units, start)
  local at = whole(math.floor(start / rate.window.grain))
  rate.granted[at] = (rate.granted[at] or 0) + units
  rate.sum = rate.sum + units
  if rate.window.paced then
    local takes_ms = units * rate.window.nominal / rate.limit
    -- A job that a full log kept waiting has saved up for itself meanwhile.
    local saved_ms = rate.is_full and rate.asked == units and math.max(0, takes_ms - rate.burst) or 0
    rate.free = math.max(rate.free, start - saved_ms) + takes_ms
  end
  rate.last, rate.asked = start, nil
end

local function is_common(scope) return scope.kind == 'model' or scope.kind == 'group' end

local scopes, asked, is_paced = {}, {}, false
for _, job in ipairs(ask.jobs) do asked[job[1]] = true end
for index, scope in ipairs(ask.scopes) do
  local state, read = state_of(scope.name)
  local slots = key('slots', scope.name)
  redis.call('ZREMRANGEBYSCORE', slots, '-inf', now)
  scope.state, scope.read, scope.used, scope.opened = state, read, redis.call('ZCARD', slots), {}
  scope.is_new = scope.used == 0
  if state.turn and number(state, 'turn_until') <= now then state.turn = nil end
  scope.is_taken = state.turn and not asked[state.turn]
  for name, limit in pairs(limits_of(scope.rates, state)) do
    scope.opened[#scope.opened + 1] = open_rate(scope, state, name, limit)
    is_paced = is_paced or is_common(scope) and WINDOWS[name].paced
  end
  scopes[index] = scope
end

-- Where no rate can be lowered a throttle lowers the calls at a time.
for _, scope in ipairs(scopes) do
  if not is_paced and scope.slots > 0 then scope.slots = math.max(1, math.floor(scope.slots * factor_of(scope.state))) end
end

-- Whoever asks is not under way: a slot that it holds is left of a grant that was not heard, or of counters made anew from the rows.
for _, job in ipairs(ask.jobs) do
  for i = 6, #job do
    local scope = scopes[job[i]]
    scope.used = scope.used - redis.call('ZREM', key('slots', scope.name), job[1])
    scope.is_new = scope.is_new or scope.used == 0
  end
end

local model = scopes[1]
local paused = 0
for _, scope in ipairs(scopes) do
  if is_common(scope) then paused = math.max(paused, (number(scope.state, 'paused_until') or 0) - now) end
end
local broken_until, probe = number(model.state, 'broken_until'), model.state.probe
local probing = broken_until and broken_until <= now
if paused > 0 then
  reply.state, reply.wait_ms = 'paused', paused
elseif broken_until and not probing then
  reply.state, reply.wait_ms = 'breaker', broken_until - now
elseif probing and probe and redis.call('ZSCORE', key('slots', model.name), probe) then
  reply.state, reply.wait_ms = 'breaker', 200
end

-- What holds a job up: why, how long, and whether it is the model's or its group's and thus everybody's; and a scope where it
-- waits for its turn.
local function hindrance(job)
  local start, why, ours, full = now, nil, false, nil
  for i = 6, #job do
    local scope = scopes[job[i]]
    local common = is_common(scope)
    if scope.slots >= 0 and scope.used >= scope.slots then
      scope.state.hungry = whole(now)
      return nil, common and 'slots' or scope.kind, 0, common
    end
    if common and scope.is_taken and job[5] == 0 then
      return nil, scope.state.turn_rate, math.max(0, number(scope.state, 'turn_at') - now) + TURN_AGAIN_MS, true
    end
    for _, rate in ipairs(scope.opened) do
      local at = earliest(rate, units_of(rate.name, job[2], job[3], job[4]))
      if at > start then
        start, why, ours = at, common and rate.name or scope.kind, common
        full = common and rate.window.paced and rate.is_full and scope
      end
    end
  end
  if start - now > ask.horizon_ms then return nil, why, start - now - ask.horizon_ms, ours, full end
  return start
end

-- Its worker is to ask again soon, so that a turn whose worker died is not kept free for long.
local function take_turn(scope, job, why, wait_ms)
  local state = scope.state
  wait_ms = math.min(wait_ms, TURN_MS)
  if not scope.is_taken then
    state.turn, state.turn_rate, state.turn_at, state.turn_until = job[1], why, whole(now + wait_ms), whole(now + wait_ms + TURN_LATE_MS)
  end
  return wait_ms
end

for index, job in ipairs(ask.jobs) do
  if reply.state ~= 'open' then break end
  local start, why, wait_ms, ours, full = hindrance(job)
  if start then
    for i = 6, #job do
      local scope = scopes[job[i]]
      if scope.state.turn == job[1] then scope.state.turn = nil end
      scope.used = scope.used + redis.call('ZADD', key('slots', scope.name), start + ask.lease_ms, job[1])
      redis.call('ZREM', key('places', scope.name), job[1])
      for _, rate in ipairs(scope.opened) do take(rate, units_of(rate.name, job[2], job[3], job[4]), start) end
    end
    reply.jobs[index] = start
    if probing then
      model.state.probe = job[1]
      reply.state, reply.wait_ms = 'breaker', 200
    end
  elseif ours then
    if full then wait_ms = take_turn(full, job, why, wait_ms) end
    reply.state, reply.wait_ms = why, wait_ms
  else
    reply.jobs[index] = {why, wait_ms}
  end
end

reply.measures = measures_of(model.state)
local last = ask.jobs[#ask.jobs] or {'', 1, reply.measures.real_in or 1, reply.measures.real_out or 1}
reply.next_ms, reply.free = 0, math.huge
for _, scope in ipairs(scopes) do
  if is_common(scope) then
    if scope.slots >= 0 then reply.free = math.max(0, math.min(reply.free, scope.slots - scope.used)) end
    if reply.state == 'open' and reply.free == 0 and #ask.jobs == 0 then
      reply.state = 'slots'
      scope.state.hungry = whole(now)
    end
    for _, rate in ipairs(scope.opened) do
      reply.next_ms = math.max(reply.next_ms, earliest(rate, units_of(rate.name, last[2], last[3], last[4])) - now)
    end
  end
end

for _, scope in ipairs(scopes) do
  local state, names = scope.state, {}
  for _, rate in ipairs(scope.opened) do
    local name = rate.name
    write_log(rate)
    names[name] = true
    state[name .. ':free'], state[name .. ':last'] = string.format('%.3f', rate.free), whole(rate.last)
    state[name .. ':sum'] = exact(rate.sum)
  end
  store(scope.name, state, scope.read)
  keep(scope.name, state, names, scope.is_new)
end
return cjson.encode(reply)
