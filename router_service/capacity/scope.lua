-- What every action shares; put before each of them. Time is Redis' own. Each is given the gate as its one key: those of the
-- scopes are made here, of their names, which Redis Cluster would not allow.
--
-- A scope is whatever has limits of its own: `model:<id>`, `group:<name>`, `tenant:<id>`, `batch:<id>`. Its keys:
--   waybill:slots:<scope>       zset  calls in flight: reservation -> expiry (ms)
--   waybill:places:<scope>      zset  jobs on their way to a worker: reservation -> expiry (ms)
--   waybill:log:<rate>:<scope>  zset  what was started within the rate's window: "<bucket>:<units>" -> bucket
--   waybill:state:<scope>       hash  <rate>:free (GCRA's theoretical arrival time, ms), <rate>:last (latest start, ms), <rate>:sum (units in
--                                     the log); of a model also paused_until, broken_until, failing_until, probe, recent, row, factor, factor_at,
--                                     cap:<rate>, cap:<rate>:until, the measures of its calls (see measures_of), sums and took<size> (see
--                                     settle.lua: remember); hungry: somebody waits for a slot;
--                                     turn, turn_rate, turn_at, turn_until: see reserve.lua
-- All but the gate expire a day and an hour or more after their last use, so that no window outlives its keys.
--
-- The windows are a little longer than a minute and a day: the margin covers the way from a granted start to the provider.
-- A bucket is the grain in which starts are remembered; all of a bucket leaves the window when its last moment does.
local KEEP_MS, KEEP_AGAIN_MS = 93600000, 3600000
local MINUTE, DAY = {ms = 60200, grain = 50, paced = true, nominal = 60000}, {ms = 86400200, grain = 60000}
local WINDOWS = {rpm = MINUTE, tpm = MINUTE, itpm = MINUTE, otpm = MINUTE, rpd = DAY, tpd = DAY}
-- No field is longer than 64 bytes, so that Redis keeps the hash in its compact form.
local SUMS, LETTERS = '<fffffffffffffd', 64
local LEARNT = {'rpm', 'tpm', 'itpm', 'otpm'}
local RECOVERY_PER_MS = 2e-6

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function key(kind, scope) return 'waybill:' .. kind .. ':' .. scope end
local function whole(number) return string.format('%.0f', number) end

-- A scope's hash, to be changed in place; and as it was read.
local function state_of(scope)
  local state, read, flat = {}, {}, redis.call('HGETALL', key('state', scope))
  for i = 1, #flat, 2 do state[flat[i]], read[flat[i]] = flat[i + 1], flat[i + 1] end
  return state, read
end

-- Write what was changed.
local function store(scope, state, read)
  local set, gone = {}, {}
  for field, value in pairs(state) do
    if value ~= read[field] then set[#set + 1], set[#set + 2] = field, value end
  end
  for field in pairs(read) do
    if not state[field] then gone[#gone + 1] = field end
  end
  if #set > 0 then redis.call('HSET', key('state', scope), unpack(set)) end
  if #gone > 0 then redis.call('HDEL', key('state', scope), unpack(gone)) end
end

local function number(state, field) return state[field] and tonumber(state[field]) end

-- The share of its limits that a model is given after a throttle: it comes back slowly.
local function factor_of(state)
  local factor = number(state, 'factor')
  if not factor then return 1 end
  return math.min(1, factor + (now - number(state, 'factor_at')) * RECOVERY_PER_MS)
end

-- The limits in force: those asked for, those that the provider's headers told where they are lower, less after a throttle.
-- A throttle says nothing about a day.
local function limits_of(asked, state)
  local factor, limits = factor_of(state), {}
  for name, limit in pairs(asked) do limits[name] = limit end
  for _, name in ipairs(LEARNT) do
    local cap = number(state, 'cap:' .. name)
    if cap and number(state, 'cap:' .. name .. ':until') > now then limits[name] = math.min(cap, limits[name] or cap) end
  end
  for name, limit in pairs(limits) do
    if WINDOWS[name].paced then limits[name] = limit * factor end
  end
  return limits
end

local function units_of(name, requests, tokens_in, tokens_out)
  if name == 'rpm' or name == 'rpd' then return requests end
  if name == 'itpm' then return tokens_in end
  if name == 'otpm' then return tokens_out end
  return tokens_in + tokens_out
end

local function exact(number) return string.format('%.17g', number) end
local function units_in(member) return tonumber(string.sub(member, string.find(member, ':', 1, true) + 1)) end

-- Change what a bucket of a log holds; an empty one goes. By how much it was changed: never below nothing. And what it held.
local function put(log, at, units)
  local member = redis.call('ZRANGEBYSCORE', log, at, at)[1]
  local had = member and units_in(member) or 0
  local change = math.max(units, -had)
  if change == 0 then return 0, had end
  -- In this order, so that the log never becomes empty between the two and loses its expiry.
  if had + change > 0 then redis.call('ZADD', log, at, at .. ':' .. exact(had + change)) end
  if member then redis.call('ZREM', log, member) end
  return change, had
end

-- Let a scope's keys live on: where one was made, and now and then.
local function keep(scope, state, names, is_new)
  if not is_new and now - (number(state, 'kept') or 0) < KEEP_AGAIN_MS then return end
  redis.call('HSET', key('state', scope), 'kept', whole(now))
  for _, kind in ipairs({'slots', 'places', 'state'}) do redis.call('PEXPIRE', key(kind, scope), KEEP_MS) end
  for name in pairs(names) do redis.call('PEXPIRE', key('log:' .. name, scope), KEEP_MS) end
end

-- {estimated_in, real_in, real_out, latency_ms, least_ms}: moving means over a model's calls, missing before the first; and the least that
-- one took within the last 5 to 10 minutes, missing where no call has ended for a minute, since it may have changed.
local FRESH_MS = 60000
local function measures_of(state)
  local measures = {}
  for _, name in ipairs({'estimated_in', 'real_in', 'real_out', 'latency_ms'}) do measures[name] = number(state, name) end
  if now - (number(state, 'measured_at') or 0) < FRESH_MS then
    measures.least_ms = math.min(number(state, 'least_ms'), number(state, 'least_before') or math.huge)
  end
  return measures
end
