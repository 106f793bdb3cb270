#include "trainer/verb.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "models/model.h"
#include "models/registry.h"

static const struct opt opts[] = {
    VERB_COMMON_OPTIONS,
    VERB_REGISTRY_OPTIONS,
    {.name = "version", .type = OPT_STR, .help = "the same as the word after the verb"},
    {.name = "alias",
     .type = OPT_STR,
     .def = "production",
     .help = "promote, rollback: the alias to change"},
    {.name = "keep",
     .type = OPT_INT,
     .def = "3",
     .min = 0,
     .max = 100000,
     .help = "gc: newest versions kept that no alias names"},
    {.name = "json", .type = OPT_BOOL, .def = "false", .help = "print one JSON document"},
};

/* What every word of the verb is given. */
struct call {
    struct registry *r;
    const char *name, *alias;
    const char *what; /* the version or alias that was asked for, NULL: none */
    int keep;
    bool json;
    struct buf out;
};

static void put(struct buf *out, const char *s)
{
    buf_puts(out, "\"");
    buf_put_json(out, s, strlen(s));
    buf_puts(out, "\"");
}

/* RFC 3339, UTC. */
static void when(int64_t unix_ms, char text[32])
{
    time_t t = (time_t)(unix_ms / 1000);
    struct tm tm;
    (void)gmtime_r(&t, &tm);
    (void)strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* The aliases of a version, comma-separated (words need no quoting) or as JSON strings. */
static void put_aliases(struct call *c, const struct registry_alias *all, size_t n,
                        const char *version)
{
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(all[i].version, version) != 0)
            continue;
        buf_printf(&c->out, c->json ? "%s\"%s\"" : "%s%s", any ? "," : "", all[i].alias);
        any = true;
    }
}

static int list(struct call *c, struct err *err)
{
    char **versions;
    struct registry_alias *aliases;
    size_t n, n_aliases;
    if (registry_aliases(c->r, c->name, &aliases, &n_aliases, err) != 0)
        return -1;
    if (registry_list(c->r, c->name, &versions, &n, err) != 0) {
        free(aliases);
        return -1;
    }
    buf_puts(&c->out, c->json ? "[" : "");
    for (size_t i = 0; i < n; i++) {
        buf_printf(&c->out, c->json ? "%s{\"version\":\"%s\",\"aliases\":[" : "%s%s",
                   c->json && i ? "," : "", versions[i]);
        buf_puts(&c->out, c->json ? "" : "  ");
        put_aliases(c, aliases, n_aliases, versions[i]);
        buf_puts(&c->out, c->json ? "]}" : "\n");
        free(versions[i]);
    }
    buf_puts(&c->out, c->json ? "]\n" : "");
    free(versions);
    free(aliases);
    return 0;
}

static void put_info(struct call *c, const struct model_info *info, const char *dir)
{
    struct buf *out = &c->out;
    if (c->json) {
        buf_puts(out, "{\"family\":");
        put(out, info->family);
        buf_puts(out, ",\"name\":");
        put(out, info->name);
        buf_printf(out, ",\"version\":\"%s\",\"sha256\":\"%s\",\"parameters\":%" PRId64,
                   info->version, info->sha256, info->parameters);
        buf_printf(out, ",\"weights_bytes\":%" PRId64 ",\"max_tokens\":%d,\"labels\":[",
                   info->weights_bytes, (int)info->max_tokens);
        for (int32_t i = 0; i < info->n_labels; i++) {
            buf_puts(out, i ? "," : "");
            put(out, info->labels[i]);
        }
        buf_puts(out, "],\"directory\":");
        put(out, dir);
        buf_puts(out, "}\n");
        return;
    }
    buf_printf(out, "family      %s\nname        %s\nversion     %s\nsha256      %s\n",
               info->family, info->name, info->version, info->sha256);
    buf_printf(out,
               "parameters  %lld\nweights     %.1f MB\nmax tokens  %d\nprecision   %s\nlabels     ",
               (long long)info->parameters, (double)info->weights_bytes / 1e6,
               (int)info->max_tokens, precision_name(info->precision));
    for (int32_t i = 0; i < info->n_labels; i++)
        buf_printf(out, " %s", info->labels[i]);
    buf_printf(out, "\ndirectory   %s\n", dir);
}

static int resolve(struct call *c, char version[REGISTRY_VERSION], struct err *err)
{
    if (!c->what)
        return err_set(err, ERR_USAGE, "which version? models VERB VERSION, or an alias");
    return registry_resolve(c->r, c->name, c->what, version, err);
}

static int show(struct call *c, struct err *err)
{
    char version[REGISTRY_VERSION], *dir;
    struct model *m;
    if (resolve(c, version, err) != 0 || registry_fetch(c->r, c->name, version, &dir, err) != 0)
        return -1;
    int rc = model_open(dir, PRECISION_AUTO, &m, err);
    if (rc == 0) {
        put_info(c, model_info(m), dir);
        model_close(m);
    }
    free(dir);
    return rc;
}

static void say(struct call *c, const char *verb, const char *version, const char *text)
{
    if (c->json)
        buf_printf(&c->out, "{\"%s\":\"%s\",\"name\":\"%s\",\"alias\":\"%s\"}\n", verb, version,
                   c->name, c->alias);
    else
        buf_printf(&c->out, "%s\n", text);
}

static int promote(struct call *c, struct err *err)
{
    char version[REGISTRY_VERSION], text[300];
    if (resolve(c, version, err) != 0 ||
        registry_set_alias(c->r, c->name, c->alias, version, err) != 0)
        return -1;
    (void)snprintf(text, sizeof text, "%s of %s is now %s", c->alias, c->name, version);
    say(c, "promoted", version, text);
    return 0;
}

static int rollback(struct call *c, struct err *err)
{
    char version[REGISTRY_VERSION], text[300];
    if (registry_rollback(c->r, c->name, c->alias, version, err) != 0)
        return -1;
    (void)snprintf(text, sizeof text, "%s of %s is again %s", c->alias, c->name, version);
    say(c, "rolled_back", version, text);
    return 0;
}

/* One more line, or string, about something that is wrong. */
static void put_wrong(struct call *c, size_t *wrong, const char *text)
{
    if (c->json) {
        buf_puts(&c->out, *wrong ? "," : "");
        put(&c->out, text);
    } else {
        buf_printf(&c->out, "%s\n", text);
    }
    ++*wrong;
}

static bool listed(struct call *c, const char *version)
{
    char now[REGISTRY_VERSION];
    return registry_resolve(c->r, c->name, version, now, NULL) == 0;
}

/* Every version, and that every alias names one. What is removed meanwhile is not wrong. */
static int verify_all(struct call *c, size_t *versions, size_t *wrong, struct err *err)
{
    struct registry_alias *aliases = NULL;
    struct err why;
    char **list, now[REGISTRY_VERSION];
    size_t n, n_aliases = 0;
    if (registry_list(c->r, c->name, &list, &n, err) != 0)
        return -1;
    int rc = registry_aliases(c->r, c->name, &aliases, &n_aliases, err);
    for (size_t i = 0; i < n; i++) {
        if (rc == 0 && registry_verify(c->r, c->name, list[i], &why) != 0 && listed(c, list[i]))
            put_wrong(c, wrong, why.msg);
        free(list[i]);
    }
    for (size_t i = 0; rc == 0 && i < n_aliases; i++)
        if (registry_resolve(c->r, c->name, aliases[i].alias, now, &why) != 0 &&
            why.code != ERR_MISSING)
            put_wrong(c, wrong, why.msg);
    free(list);
    free(aliases);
    *versions = n;
    return rc;
}

/* One version, or all of them and the aliases when none is named. */
static int verify(struct call *c, struct err *err)
{
    char one[REGISTRY_VERSION];
    size_t n = 1, wrong = 0;
    int rc;
    buf_puts(&c->out, c->json ? "{\"wrong\":[" : "");
    if (c->what)
        rc = resolve(c, one, err) != 0 ? -1 : registry_verify(c->r, c->name, one, err);
    else
        rc = verify_all(c, &n, &wrong, err);
    if (rc != 0)
        return -1;
    if (c->json)
        buf_printf(&c->out, "],\"verified\":%zu,\"name\":\"%s\"}\n", n, c->name);
    else if (wrong == 0)
        buf_printf(&c->out, "%s: %zu version(s), every file is as its manifest says\n", c->name, n);
    if (wrong) {
        (void)fwrite(c->out.data, 1, c->out.len, stdout);
        return err_set(err, ERR_FORMAT, "%s: %zu thing(s) wrong, as listed", c->name, wrong);
    }
    return 0;
}

static int rm(struct call *c, struct err *err)
{
    char version[REGISTRY_VERSION], text[300];
    if (resolve(c, version, err) != 0 || registry_remove(c->r, c->name, version, err) != 0)
        return -1;
    (void)snprintf(text, sizeof text, "%s of %s is removed", version, c->name);
    say(c, "removed", version, text);
    return 0;
}

static int gc(struct call *c, struct err *err)
{
    char **removed;
    size_t n;
    if (registry_gc(c->r, c->name, c->keep, &removed, &n, err) != 0)
        return -1;
    buf_puts(&c->out, c->json ? "{\"removed\":[" : "");
    for (size_t i = 0; i < n; i++) {
        buf_printf(&c->out, c->json ? "%s\"%s\"" : "%s%s removed\n", c->json && i ? "," : "",
                   removed[i]);
        free(removed[i]);
    }
    buf_puts(&c->out, c->json ? "]}\n" : "");
    free(removed);
    return 0;
}

static int history(struct call *c, struct err *err)
{
    struct registry_change *all;
    size_t n;
    char time_text[32];
    if (registry_history(c->r, c->name, &all, &n, err) != 0)
        return -1;
    buf_puts(&c->out, c->json ? "[" : "");
    for (size_t i = 0; i < n; i++) {
        when(all[i].unix_ms, time_text);
        if (!c->json) {
            buf_printf(&c->out, "%s  %-20s %s  %-16s -> %s\n", time_text, all[i].by, all[i].alias,
                       all[i].from[0] ? all[i].from : "(none)", all[i].to);
            continue;
        }
        buf_printf(&c->out, "%s{\"time\":\"%s\",\"by\":", i ? "," : "", time_text);
        put(&c->out, all[i].by);
        buf_printf(&c->out, ",\"alias\":\"%s\",\"from\":%s%s%s,\"to\":\"%s\"}", all[i].alias,
                   all[i].from[0] ? "\"" : "", all[i].from[0] ? all[i].from : "null",
                   all[i].from[0] ? "\"" : "", all[i].to);
    }
    buf_puts(&c->out, c->json ? "]\n" : "");
    free(all);
    return 0;
}

static const struct {
    const char *word;
    int (*run)(struct call *c, struct err *err);
} known[] = {{"ls", list},       {"show", show}, {"promote", promote}, {"rollback", rollback},
             {"verify", verify}, {"rm", rm},     {"gc", gc},           {"history", history}};
enum { N_KNOWN = sizeof known / sizeof *known };

static int run(const struct options *o, const char *const *words, int n, struct err *err)
{
    struct call c = {.alias = options_str(o, "alias"),
                     .what = n > 1 ? words[1] : options_str(o, "version"),
                     .keep = (int)options_int(o, "keep"),
                     .json = options_bool(o, "json")};
    int k = 0;
    while (n > 0 && k < N_KNOWN && strcmp(words[0], known[k].word) != 0)
        k++;
    if (n < 1 || n > 2 || k == N_KNOWN)
        return err_set(
            err, ERR_USAGE,
            "one of ls, show, promote, rollback, verify, rm, gc, history is expected, and "
            "perhaps a version");
    if (verb_registry(o, &c.r, &c.name, err) != 0)
        return -1;
    buf_init(&c.out, 64 << 20);
    int rc = known[k].run(&c, err);
    if (rc == 0 && c.out.full)
        rc = err_set(err, ERR_CONFIG, "%s: the answer is too long", c.name);
    if (rc == 0)
        (void)fwrite(c.out.data ? c.out.data : "", 1, c.out.len, stdout);
    buf_done(&c.out);
    registry_close(c.r);
    return rc;
}

static const char *const environment[] = {"registry", "name", "cache", NULL};

const struct verb verb_models = {
    .name = "models",
    .help =
        "what is in a registry: list, show, promote, roll back, verify, remove, collect, history",
    .words = "ls|show|promote|rollback|verify|rm|gc|history [VERSION]",
    .opts = opts,
    .n_opts = sizeof opts / sizeof *opts,
    .environment = environment,
    .run = run};
