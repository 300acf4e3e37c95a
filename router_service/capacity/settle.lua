-- Give reservations back, and settle what was reserved against what was used. Idempotent: a reservation settles once.
--
-- ARGV  1 JSON {allowed_fails, blocking_fails, cooldown_ms, scopes (see reserve.lua), ended: [[reservation, start_ms, requests, tokens in,
--         tokens out (each: used less reserved), verdict, hold, measures or 0, index of a scope...]]}; verdict: ok | failed | none; hold: 1 where the provider
--         may be at it still, so that the slot is left to expire; measures: [estimated tokens in, real ones, real tokens out,
--         latency_ms, letter, size] of a call that was answered: how long it took and how long its answer is, as records.py writes them
-- reply how many reservations were really given back
--
-- What was not used leaves the log where it stood. What was used beyond the reservation is put there too: a debt, that
-- later starts wait for. Where the window has gone by, a debt counts from now on.
local ask = cjson.decode(ARGV[1])
local settled = 0
local MEMORY = 0.05 -- the weight of the newest call in a measure
local RECENT = 20
local LEAST_MS = 300000 -- the least of a measure is forgotten after one to two of these

-- Remember a correction; all of them are made together.
local function correct(scope, name, limit, start, units)
  local window, state, free = WINDOWS[name], scope.state, name .. ':free'
  if start < now - window.ms then
    if units < 0 then return end
    start = math.max(now, number(state, name .. ':last') or 0)
  end
  local at, corrections = whole(math.floor(start / window.grain)), scope.corrections[name]
  corrections[at] = (corrections[at] or 0) + units
  if window.paced and state[free] then
    state[free] = string.format('%.3f', tonumber(state[free]) + units * window.nominal / limit)
  end
end

local function measure(state, answers)
  local before, least_ms = number(state, 'calls') or 0, math.huge
  for i, name in ipairs({'estimated_in', 'real_in', 'real_out', 'latency_ms'}) do
    local mean = number(state, name) or answers[1][i]
    for nth, answer in ipairs(answers) do mean = mean + math.max(MEMORY, 1 / (before + nth)) * (answer[i] - mean) end
    state[name] = string.format('%.6g', mean)
  end
  state.calls = whole(math.min(before + #answers, 1000))
  for _, answer in ipairs(answers) do least_ms = math.min(least_ms, answer[4]) end
  local since_ms = now - (number(state, 'least_at') or 0)
  if since_ms > LEAST_MS then
    state.least_before = since_ms < 2 * LEAST_MS and state.least_ms or nil
    state.least_ms, state.least_at = nil, whole(now)
  end
  state.least_ms = string.format('%.6g', math.min(number(state, 'least_ms') or least_ms, least_ms))
  state.measured_at = whole(now)
end

-- What the router wants to know of the model's calls, from those that ended: how long each took, as a letter (see records.py) of
-- the last ones with answers of its size; and sums:
--   1-5    the line of latency over tokens out: the weight of the calls so far, their mean tokens, mean seconds, and about those
--          the variance of the tokens and the covariance of both. Long answers vary by more seconds, so they weigh less.
--   6-9    how many of the last calls had answers of each size
--   10-11  how many calls were judged, the share of them that failed
--   12-14  requests and tokens (in and out) that were used, fading by 1/e in a minute: what a minute uses; as of that moment (ms)
local FADE, EVEN_TOKENS, MINUTE_MS, TOOK = 0.02, 20, 60000, {'took1', 'took2', 'took3', 'took4'}

local function add_to_line(sums, tokens, seconds)
  local share = 1 / (tokens + EVEN_TOKENS)
  sums[1] = sums[1] * (1 - FADE) + share
  share = share / sums[1]
  local more, longer, rest = tokens - sums[2], seconds - sums[3], 1 - share
  sums[2], sums[3] = sums[2] + share * more, sums[3] + share * longer
  sums[4], sums[5] = rest * (sums[4] + share * more * more), rest * (sums[5] + share * more * longer)
end

local function remember(state, verdicts, requests, answers)
  local sums = state.sums and {struct.unpack(SUMS, state.sums)} or {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, now}
  local fade, tokens = math.exp((sums[14] - now) / MINUTE_MS), 0
  for _, verdict in ipairs(verdicts) do
    if verdict ~= 'none' then
      sums[10] = math.min(sums[10] + 1, 1000)
      sums[11] = sums[11] + math.max(FADE, 1 / sums[10]) * ((verdict == 'failed' and 1 or 0) - sums[11])
    end
  end
  for _, answer in ipairs(answers) do
    local size = answer[6]
    local took = TOOK[size]
    state[took] = string.sub((state[took] or '') .. answer[5], -LETTERS)
    for i = 6, 9 do sums[i] = (1 - FADE) * sums[i] end
    sums[5 + size] = sums[5 + size] + 1
    add_to_line(sums, answer[3], answer[4] / 1000)
    tokens = tokens + answer[2] + answer[3]
  end
  sums[12], sums[13], sums[14] = sums[12] * fade + requests, sums[13] * fade + tokens, now
  state.sums = struct.pack(SUMS, unpack(sums, 1, 14))
end

-- Where more than the allowed calls of the last ones failed, and at least half of them, the model is failing for the cooldown: the
-- router sends new jobs elsewhere where it can. Where that is also what blocks, or more than blocking_fails failed in a row, the
-- breaker opens: nothing goes through for the cooldown, then one call at a time, whose end closes it or opens it again.
local function judge(state, name, verdict)
  if state.broken_until then
    if state.probe ~= name then return end
    state.probe = nil
    if verdict == 'ok' then state.broken_until, state.failing_until, state.recent, state.row = nil, nil, nil, nil end
    if verdict == 'failed' then state.broken_until = whole(now + ask.cooldown_ms) end
  elseif verdict ~= 'none' and ask.cooldown_ms > 0 then
    state.recent = string.sub((state.recent or '') .. (verdict == 'failed' and '1' or '0'), -RECENT)
    local row = verdict == 'failed' and (number(state, 'row') or 0) + 1 or 0
    state.row = whole(row)
    if row == 0 then
      state.failing_until = nil
      return
    end
    local _, fails = string.gsub(state.recent, '1', '')
    if fails > ask.allowed_fails and 2 * fails >= #state.recent then
      state.failing_until = whole(now + ask.cooldown_ms)
      if row > ask.blocking_fails or ask.blocking_fails == ask.allowed_fails then state.broken_until = state.failing_until end
    end
  end
end

local function give_back(ended)
  settled = settled + 1
  for i = 9, #ended do
    local scope = ask.scopes[ended[i]]
    scope.is_freed = redis.call('ZREM', key('slots', scope.name), ended[1]) == 1 or scope.is_freed
    for rate, limit in pairs(scope.limits) do
      local units = units_of(rate, ended[3], ended[4], ended[5])
      if units ~= 0 then correct(scope, rate, limit, ended[2], units) end
    end
  end
end

-- The slot stays until its lease ends, under another name: a settlement that is sent again finds nothing to settle.
local function leave_to_expire(ended)
  for i = 9, #ended do
    local slots = key('slots', ask.scopes[ended[i]].name)
    local expiry = redis.call('ZSCORE', slots, ended[1])
    if expiry then redis.call('ZADD', slots, expiry, ended[1] .. ':held') end
    redis.call('ZREM', slots, ended[1])
  end
end

for _, scope in ipairs(ask.scopes) do
  scope.state, scope.read = state_of(scope.name)
  scope.limits, scope.corrections = limits_of(scope.rates, scope.state), {}
  for name in pairs(scope.limits) do scope.corrections[name] = {} end
end
local model, verdicts, requests, answers = ask.scopes[1], {}, 0, {}
for _, ended in ipairs(ask.ended) do
  local name, verdict, hold, measures = ended[1], ended[6], ended[7], ended[8]
  if redis.call('ZSCORE', key('slots', model.name), name) then
    judge(model.state, name, verdict)
    verdicts[#verdicts + 1], requests = verdict, requests + ended[3] + 1
    if hold == 0 then
      if measures ~= 0 then answers[#answers + 1] = measures end
      give_back(ended)
    else
      leave_to_expire(ended)
    end
  end
end
if #answers > 0 then measure(model.state, answers) end
if #verdicts > 0 then remember(model.state, verdicts, requests, answers) end
for _, scope in ipairs(ask.scopes) do
  local state, is_new = scope.state, false
  for name, corrections in pairs(scope.corrections) do
    for at, units in pairs(corrections) do
      local change, had = put(key('log:' .. name, scope.name), at, units)
      if change ~= 0 then state[name .. ':sum'] = exact((number(state, name .. ':sum') or 0) + change) end
      is_new = is_new or had == 0 and change > 0
    end
  end
  -- A worker that was told to wait for a call to end hears of it.
  if scope.is_freed and state.hungry then
    state.hungry = nil
    redis.call('PUBLISH', 'waybill:freed', scope.name)
  end
  store(scope.name, state, scope.read)
  keep(scope.name, state, scope.limits, is_new)
end
return settled
