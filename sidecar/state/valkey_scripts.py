"""What Valkey or Redis does for `valkey.ValkeyStore`, each in one step (Lua 5.1, from Redis 5).

Keys, all with one hash tag, so that a cluster has them in one slot; `{1}` is the site:
- `ci:{1}:owners`: a hash of sidecar -> "incarnation version pool"; an incarnation is greater than those before it
- `ci:{1}:lease:POOL`: a sorted set of sidecar -> end of its lease, in the server's milliseconds
- `ci:{1}:retired:POOL`: the same of those that take no calls of others any more
- `ci:{1}:calls:SIDECAR`: a hash of call -> its data: whose a call is, is where it is
- `ci:{1}:moved:SIDECAR`: a set of the calls that another one has taken from it
- `ci:{1}:epoch`: gone where the server has lost everything
"""

_COMMON = """
local base, me, mine, pool = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local lease_ms, stale_ms, moved_ms = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function named(kind, of) return base .. kind .. ':' .. of end
local function about(owner)
  local found = redis.call('HGET', base .. 'owners', owner)
  if not found then return nil end
  return string.match(found, '^(%x+) (%d+) (.*)$')
end
local function renew()
  local _, _, old = about(me)
  if old and old ~= pool then redis.call('ZREM', named('lease', old), me) end
  redis.call('HSET', base .. 'owners', me, mine)
  redis.call('ZADD', named('lease', pool), now + lease_ms, me)
end
local function is_superseded()
  local incarnation = about(me)
  return incarnation and incarnation > string.match(mine, '^%x+')
end
local function forget(owner)
  redis.call('ZREM', named('lease', pool), owner)
  redis.call('ZREM', named('retired', pool), owner)
  redis.call('HDEL', base .. 'owners', owner)
end
"""

BEGIN = (
    _COMMON
    + """
local _, _, old = about(me)
local score = old and redis.call('ZSCORE', named('lease', old), me)
if not score or tonumber(score) < now - stale_ms then redis.call('DEL', named('calls', me)) end
renew()
redis.call('ZREM', named('retired', pool), me)
redis.call('DEL', named('moved', me))
local away = {}
for _, owner in ipairs(redis.call('HKEYS', base .. 'owners')) do
  if owner ~= me then
    for _, key in ipairs(redis.call('HKEYS', named('calls', owner))) do
      if string.sub(key, 1, #me + 1) == me .. '-' then table.insert(away, key) end
    end
  end
end
return {redis.call('HGETALL', named('calls', me)), away}
"""
)

WRITE = (
    _COMMON
    + """
if is_superseded() then return 'superseded' end
local known = redis.call('HGET', base .. 'owners', me)
local before = redis.call('ZSCORE', named('lease', pool), me) or ''
local renews, retires = known ~= mine or ARGV[13] == '1', ARGV[14] == '1'
if renews then
  renew()
  redis.call('SET', base .. 'epoch', ARGV[7], 'NX')
  if retires then redis.call('ZADD', named('retired', pool), now + lease_ms, me) end
end
local at = 17
local function next_ones(count)
  local first = at
  at = at + count
  return first, at - 1
end
local first, last = next_ones(tonumber(ARGV[10]))
for i = first, last do redis.call('SREM', named('moved', me), ARGV[i]) end
local lost, is_lost = redis.call('SMEMBERS', named('moved', me)), {}
for _, key in ipairs(lost) do is_lost[key] = true end
first, last = next_ones(tonumber(ARGV[11]))
for i = first, last do redis.call('HDEL', named('calls', me), ARGV[i]) end
first, last = next_ones(2 * tonumber(ARGV[12]))
for i = first, last, 2 do
  if not is_lost[ARGV[i]] then redis.call('HSET', named('calls', me), ARGV[i], ARGV[i + 1]) end
end
local epoch = redis.call('GET', base .. 'epoch')
local ours = ARGV[16] == '1' and redis.call('HKEYS', named('calls', me)) or {}
if not renews then return {epoch, lost, ours} end
redis.call('PEXPIRE', named('calls', me), moved_ms)
local dead = {}
for _, owner in ipairs(redis.call('ZRANGEBYSCORE', named('lease', pool), '-inf', '(' .. now, 'LIMIT', 0, 20)) do
  local _, version = about(owner)
  local score = tonumber(redis.call('ZSCORE', named('lease', pool), owner))
  if not version or score < now - stale_ms or redis.call('HLEN', named('calls', owner)) == 0 then
    redis.call('DEL', named('calls', owner))
    forget(owner)
  elseif tonumber(version) >= tonumber(ARGV[8]) and tonumber(version) <= tonumber(ARGV[9]) then
    table.insert(dead, owner)
  end
end
local retired, others = {}, 0
for _, owner in ipairs(redis.call('ZRANGEBYSCORE', named('retired', pool), now, '+inf')) do retired[owner] = true end
for _, owner in ipairs(redis.call('ZRANGEBYSCORE', named('lease', pool), now, '+inf')) do
  local _, version = about(owner)
  version = tonumber(version)
  if owner ~= me and not retired[owner] and version and version >= tonumber(ARGV[9]) and version <= tonumber(ARGV[15])
  then others = others + 1 end
end
return {epoch, lost, ours, dead, others, before, redis.call('ZSCORE', named('lease', pool), me)}
"""
)

TAKE = (
    _COMMON
    + """
if is_superseded() then return 'superseded' end
local dead, most = ARGV[7], tonumber(ARGV[8])
local score = redis.call('ZSCORE', named('lease', pool), dead)
if not score or tonumber(score) >= now then return {} end
local cursor, found, taken = '0', {}, {}
repeat
  local page = redis.call('HSCAN', named('calls', dead), cursor, 'COUNT', most)
  cursor, found = page[1], page[2]
until #found > 0 or cursor == '0'
for i = 1, math.min(#found, 2 * most), 2 do
  redis.call('HSET', named('calls', me), found[i], found[i + 1])
  redis.call('HDEL', named('calls', dead), found[i])
  redis.call('SADD', named('moved', dead), found[i])
  redis.call('SREM', named('moved', me), found[i])
  table.insert(taken, found[i])
  table.insert(taken, found[i + 1])
end
redis.call('PEXPIRE', named('moved', dead), moved_ms)
return taken
"""
)

GIVE_UP = (
    _COMMON
    + """
if not is_superseded() then
  redis.call('ZADD', named('lease', pool), 'XX', now - 1, me)
  redis.call('ZADD', named('retired', pool), 'XX', now - 1, me)
end
return 'ok'
"""
)
