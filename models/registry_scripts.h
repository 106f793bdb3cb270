/* The changes that must be one step, as Lua scripts run by Redis (EVAL).  Private to
 * registry_redis.c, which says what keys and arguments they get.  Each gives a word. */
#ifndef MODELS_REGISTRY_SCRIPTS_H
#define MODELS_REGISTRY_SCRIPTS_H

/* KEYS version:V, versions; ARGV V, manifest, chunks, ms. An existing one stays as it is. */
static const char script_publish[] =
    "if redis.call('EXISTS', KEYS[1]) == 0 then "
    "redis.call('HSET', KEYS[1], 'manifest', ARGV[2], 'chunks', ARGV[3]) end "
    "redis.call('ZADD', KEYS[2], 'NX', ARGV[4], ARGV[1]) "
    "return 'ok'";

/* KEYS versions, aliases, history; ARGV alias, V, expected or '', by, channel. The message is a hint:
 * it can be lost. */
static const char script_alias[] =
    "if not redis.call('ZSCORE', KEYS[1], ARGV[2]) then return 'missing' end "
    "local now = redis.call('HGET', KEYS[2], ARGV[1]) or '' "
    "if now == ARGV[2] then return 'ok' end " /* sent twice, perhaps: see redis.h */
    "if ARGV[3] ~= '' and ARGV[3] ~= now then return 'changed' end "
    "redis.call('HSET', KEYS[2], ARGV[1], ARGV[2]) "
    "redis.call('XADD', KEYS[3], '*', 'alias', ARGV[1], 'from', now, 'to', ARGV[2], 'by', ARGV[4]) "
    "redis.call('PUBLISH', ARGV[5], ARGV[1]) "
    "return 'ok'";

/* KEYS versions, aliases, version:V; ARGV V. */
static const char script_remove[] =
    "for _, v in ipairs(redis.call('HVALS', KEYS[2])) do "
    "if v == ARGV[1] then return 'aliased' end end "
    "redis.call('DEL', KEYS[3]) "
    "if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 'missing' end "
    "return 'ok'";

/* KEYS versions, aliases, chunks, leases; ARGV prefix, keep, ms. Gives the removed versions. */
static const char script_gc[] =
    "local named, used, gone, kept = {}, {}, {}, 0 "
    "for _, v in ipairs(redis.call('HVALS', KEYS[2])) do named[v] = true end "
    "for _, v in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, -1)) do "
    "if named[v] or kept < tonumber(ARGV[2]) then "
    "if not named[v] then kept = kept + 1 end "
    "local lines = redis.call('HGET', ARGV[1] .. 'version:' .. v, 'chunks') or '' "
    "for sha in string.gmatch(lines, '%d+ (%x+) %d+') do used[sha] = true end "
    "else redis.call('DEL', ARGV[1] .. 'version:' .. v) redis.call('ZREM', KEYS[1], v) "
    "gone[#gone + 1] = v end end "
    "redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', ARGV[3]) "
    "for _, sha in ipairs(redis.call('SMEMBERS', KEYS[3])) do "
    "if not used[sha] and not redis.call('ZSCORE', KEYS[4], sha) then "
    "redis.call('DEL', ARGV[1] .. 'chunk:' .. sha) redis.call('SREM', KEYS[3], sha) end end "
    "return gone";

#endif
