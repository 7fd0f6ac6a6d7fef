/**
 * What Redis does in one step, in Lua that Redis 5 and later and Valkey run. Each touches one key, so that a Cluster
 * can run it too. `now` and ends are the caller's, in ms since 1970; what expires does so after a length and not at a
 * time, so that the clock of Redis does not matter. A hash of windows has a field for each login, with JSON in it.
 */
import { createHash } from 'node:crypto';

export interface Script {
  readonly lua: string;
  readonly sha: string;
}

const script = (lua: string): Script => ({ lua, sha: createHash('sha1').update(lua).digest('hex') });

/** See `openIn`. Arguments: login, the window as JSON, most, now. */
export const OPEN = script(`
local now, others, old = tonumber(ARGV[4]), 0, nil
local new = cjson.decode(ARGV[2])
local latest = new['until']
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local held = cjson.decode(all[i + 1])
  if held['until'] <= now then
    redis.call('HDEL', KEYS[1], all[i])
  else
    if all[i] == ARGV[1] then old = held else others = others + 1 end
    latest = math.max(latest, held['until'])
  end
end
if old then
  new.since, new.used = old.since, old.used
  new['until'] = math.max(new['until'], old['until'])
elseif others >= tonumber(ARGV[3]) then
  return 'full'
end
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(new))
redis.call('PEXPIRE', KEYS[1], math.max(1, math.ceil(latest - now)))
return old and 'renewed' or 'opened'`);

/** See `spendIn`. Arguments: login, amount, now. */
export const SPEND = script(`
local json = redis.call('HGET', KEYS[1], ARGV[1])
if not json then return 0 end
local window = cjson.decode(json)
if window['until'] <= tonumber(ARGV[3]) then return 0 end
local used = window.used + tonumber(ARGV[2])
if window.budget > 0 and used > window.budget then return 0 end
window.used = used
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(window))
return 1`);

/** Drops the windows of a key, or of a login there, and says how many were open. Arguments: now, perhaps login. */
export const CLOSE = script(`
local closed = 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if not ARGV[2] or all[i] == ARGV[2] then
    if cjson.decode(all[i + 1])['until'] > tonumber(ARGV[1]) then closed = closed + 1 end
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return closed`);

/** Notes in the index of a login that it may have a window at a key. Arguments: key, until, now. */
export const INDEX = script(`
local untilThen, now = tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) < untilThen then redis.call('ZADD', KEYS[1], untilThen, ARGV[1]) end
local length = math.max(1, math.ceil(untilThen - now))
if redis.call('PTTL', KEYS[1]) < length then redis.call('PEXPIRE', KEYS[1], length) end
return 1`);

/** Sets a mark unless there is one, which it returns. Arguments: the mark as JSON, now, perhaps PX and its length. */
export const MARK_ONCE = script(`
local held = redis.call('GET', KEYS[1])
if held then
  local ends = cjson.decode(held)['until']
  if ends == cjson.null or ends > tonumber(ARGV[2]) then return held end
end
redis.call('SET', KEYS[1], ARGV[1], unpack(ARGV, 3))
return false`);

/** Sets a text unless there is one, and returns what is there. */
export const EPOCH = script(`
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])`);

/** Gets and deletes, which is no command before Redis 6.2. */
export const TAKE = script(`
local value = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
return value`);

/** Returns what is used and ms until it begins anew. Arguments: amount, period in ms. */
export const COUNT = script(`
if ARGV[1] == '0' then
  return { tonumber(redis.call('GET', KEYS[1]) or '0'), math.max(0, redis.call('PTTL', KEYS[1])) }
end
local used = redis.call('INCRBY', KEYS[1], ARGV[1])
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
  left = tonumber(ARGV[2])
  redis.call('PEXPIRE', KEYS[1], left)
end
return { used, left }`);
