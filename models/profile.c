#include "models/profile.h"

const char *profile_name(enum profile_op op)
{
    static const char *const names[PROFILE_OPS] = {
        [PROFILE_EMBED] = "embeddings",
        [PROFILE_QKV] = "queries, keys, values: products",
        [PROFILE_QKV_ROWS] = "queries, keys, values: rows",
        [PROFILE_ATTENTION] = "attention",
        [PROFILE_OUT] = "attention output: products",
        [PROFILE_OUT_ROWS] = "attention output: rows",
        [PROFILE_INNER] = "inner: products",
        [PROFILE_INNER_ROWS] = "inner: rows",
        [PROFILE_OUTER] = "outer: products",
        [PROFILE_OUTER_ROWS] = "outer: rows",
        [PROFILE_HEAD] = "head",
    };
    return names[op];
}
