/* The changes that must be one step, as Lua scripts run by Redis (EVAL).  Private to
 * registry_redis*.c.  Each gives a word. */
#ifndef MODELS_REGISTRY_SCRIPTS_H
#define MODELS_REGISTRY_SCRIPTS_H

/* Milliseconds by the server's clock: pushes and gc on several hosts mean the same. */
#define SCRIPT_NOW "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000) "

/* KEYS leases, chunks, chunk:SHA; ARGV SHA, ms. Leases a chunk, and names it before its bytes are
 * there: what is not in the set, gc never finds. Gives its length. */
static const char script_lease[] = SCRIPT_NOW "redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1]) "
                                              "redis.call('SADD', KEYS[2], ARGV[1]) "
                                              "return redis.call('STRLEN', KEYS[3])";

/* KEYS version:V, versions; ARGV V, manifest, chunks, prefix, '1' to replace what is there (it was
 * found damaged). An existing one stays as it is; one whose chunks are gone meanwhile (a push slower
 * than its leases) is not published. */
static const char script_publish[] =
    "for sha in string.gmatch(ARGV[3], '%d+ (%x+) %d+') do "
    "if redis.call('EXISTS', ARGV[4] .. 'chunk:' .. sha) == 0 then return 'gone' end "
    "end " SCRIPT_NOW "if ARGV[5] == '1' or redis.call('EXISTS', KEYS[1]) == 0 then "
    "redis.call('HSET', KEYS[1], 'manifest', ARGV[2], 'chunks', ARGV[3]) end "
    "redis.call('ZADD', KEYS[2], 'NX', now, ARGV[1]) "
    "return 'ok'";

/* KEYS versions, aliases, history; ARGV alias, V, expected or '*', by, channel: the last of each, so that
 * a guard (models/registry_lock_redis.h) may stand before with words of its own. The message is a
 * hint: it can be lost. */
#define SCRIPT_ALIAS_KEYS 3
#define SCRIPT_ALIAS_WORDS 8 /* with the keys */
static const char script_alias[] =
    "local versions, aliases, history = unpack(KEYS, #KEYS - 2) "
    "local alias, to, expected, by, channel = unpack(ARGV, #ARGV - 4) "
    "if not redis.call('ZSCORE', versions, to) then return 'missing' end "
    "local now = redis.call('HGET', aliases, alias) or '' "
    "if now == to then return 'ok' end " /* sent twice, perhaps: see redis.h */
    "if expected ~= '*' and expected ~= now then return 'at ' .. now end "
    "redis.call('HSET', aliases, alias, to) "
    "redis.call('XADD', history, '*', 'alias', alias, 'from', now, 'to', to, 'by', by) "
    "redis.call('PUBLISH', channel, alias) "
    "return 'ok'";

/* KEYS versions, aliases, version:V; ARGV V. */
static const char script_remove[] =
    "for _, v in ipairs(redis.call('HVALS', KEYS[2])) do "
    "if v == ARGV[1] then return 'aliased' end end "
    "redis.call('DEL', KEYS[3]) "
    "if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 'missing' end "
    "return 'ok'";

/* KEYS versions, aliases, chunks, leases; ARGV prefix, keep. Gives the removed versions. */
static const char script_gc[] =
    "local named, used, gone, kept = {}, {}, {}, 0 "
    "local function keep(v) "
    "local lines = redis.call('HGET', ARGV[1] .. 'version:' .. v, 'chunks') or '' "
    "for sha in string.gmatch(lines, '%d+ (%x+) %d+') do used[sha] = true end end "
    "for _, v in ipairs(redis.call('HVALS', KEYS[2])) do named[v] = true keep(v) end "
    "for _, v in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, -1)) do "
    "if named[v] or kept < tonumber(ARGV[2]) then "
    "if not named[v] then kept = kept + 1 end "
    "keep(v) "
    "else redis.call('DEL', ARGV[1] .. 'version:' .. v) redis.call('ZREM', KEYS[1], v) "
    "gone[#gone + 1] = v end end " SCRIPT_NOW
    "redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now) "
    "for _, sha in ipairs(redis.call('SMEMBERS', KEYS[3])) do "
    "if not used[sha] and not redis.call('ZSCORE', KEYS[4], sha) then "
    "redis.call('DEL', ARGV[1] .. 'chunk:' .. sha) redis.call('SREM', KEYS[3], sha) end end "
    "return gone";

#endif
