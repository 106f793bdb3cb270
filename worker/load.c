#include "worker/load.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/dataset.h"
#include "base/signals.h"
#include "models/labels.h"
#include "worker/served.h"

/* The registry that a start waits for; for load_cancel. */
static _Atomic(struct registry *) waited_for;

void load_cancel(void)
{
    struct registry *r = atomic_load(&waited_for);
    if (r)
        registry_cancel(r);
}

int load_read_args(struct options *o, int argc, char **argv, const char **rest, int *n_rest,
                   struct err *err)
{
    static const char *const names[][2] = {{"registry", "RUBRIC_REGISTRY"},
                                           {"name", "RUBRIC_NAME"},
                                           {"alias", "RUBRIC_ALIAS"},
                                           {"cache", "RUBRIC_CACHE"},
                                           {"cache-mb", "RUBRIC_CACHE_MB"}};
    if (options_read_args(o, argc, argv, rest, n_rest, err) != 0)
        return -1;
    if (options_str(o, "model"))
        return 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i][1]);
        if (value && *value && !options_given(o, names[i][0]) &&
            options_set(o, names[i][0], value, names[i][1], err) != 0)
            return -1;
    }
    return 0;
}

int load_registry(const struct options *o, struct registry **out, struct err *err)
{
    if (registry_open(options_str(o, "registry"), out, err) != 0)
        return -1;
    registry_set_cache(*out, options_str(o, "cache"), options_int(o, "cache-mb") << 20);
    return 0;
}

/* A signal that interrupts a thread inside oneDNN's products overwrites what lies below its stack
 * pointer: none is taken meanwhile. */
static int open_quietly(const char *dir, const struct model_options *p, struct model **out,
                        struct err *err)
{
    sigset_t before;
    signals_hold(&before);
    struct model *m;
    int rc = model_open_with(dir, p, &m, err);
    if (rc == 0 && served_warm_up(m, err) != 0) {
        model_close(m);
        rc = -1;
    }
    if (rc == 0)
        *out = m;
    signals_release(&before);
    return rc;
}

/* The labels of the version that was in service last must be the model's, or readers of the topics
 * would be surprised by a restart. dir: that version's; where it names
 * none, no objection. */
static int check_last(const struct model *m, const char *dir, struct err *err)
{
    struct classes last = {0};
    int rc = 0;
    if (labels_read_dir(dir, &last, NULL) == 0) {
        if (last.n && !served_same_labels((const char *const *)last.names, last.n, model_info(m)))
            rc = err_set(err, ERR_CONFIG,
                         "other labels than the version that was in service last has; "
                         "allow-new-labels lets them through");
        classes_done(&last);
    }
    return rc;
}

/* What is told to who follows the steps. */
struct told {
    const struct load_steps *steps;
    const char *name, *version;
};

static void say(const struct load_steps *steps, const char *doing, const char *name,
                const char *what)
{
    char text[300];
    (void)snprintf(text, sizeof text, "%s %s %s", doing, name, what);
    if (steps && steps->at)
        steps->at(steps->arg, text);
}

static void on_bytes(void *arg, int64_t bytes, int64_t of)
{
    const struct told *t = arg;
    char much[100];
    (void)snprintf(much, sizeof much, "%s, %.1f of %.1f MB", t->version, (double)bytes / 1e6,
                   (double)of / 1e6);
    say(t->steps, "fetching", t->name, much);
}

/* What the alias names now. serves: it will be in service. last: the directory of what was in service last, or NULL. */
static int load_named(struct registry *r, const struct options *o, const struct model_options *p,
                      bool serves, const char *last, const struct load_steps *steps,
                      struct model **out, struct err *err)
{
    const char *name = options_str(o, "name"), *alias = options_str(o, "alias");
    char version[REGISTRY_VERSION], *dir = NULL;
    struct told told = {steps, name, version};
    say(steps, "asking the registry for", name, alias);
    int rc = registry_resolve(r, name, alias, version, err);
    if (rc == 0) {
        say(steps, "fetching", name, version);
        registry_set_progress(r, (struct registry_progress){on_bytes, &told});
        rc = registry_fetch(r, name, version, &dir, err);
        registry_set_progress(r, (struct registry_progress){NULL, NULL});
    }
    if (rc == 0) {
        say(steps, "opening", name, version);
        rc = open_quietly(dir, p, out, err);
    }
    if (rc == 0 && last && check_last(*out, last, err) != 0) {
        model_close(*out);
        rc = -1;
    }
    /* Only what serves is worth a start without the registry, and is what readers are used to; a cache
     * that cannot be written is no reason not to serve. */
    if (rc == 0 && serves)
        (void)registry_note(r, name, alias, version, NULL);
    free(dir);
    return rc;
}

static int load_from_registry(const struct options *o, const struct model_options *p,
                              bool check_labels, const struct load_steps *steps, struct model **out,
                              char *stale, struct err *err)
{
    struct registry *r;
    char version[REGISTRY_VERSION], *last = NULL;
    if (load_registry(o, &r, err) != 0)
        return -1;
    atomic_store(&waited_for, r);
    if (stale && registry_fetch_last(r, options_str(o, "name"), options_str(o, "alias"), version,
                                     &last, NULL) != 0)
        last = NULL;
    int rc = load_named(r, o, p, stale != NULL, check_labels ? last : NULL, steps, out, err);
    if (rc != 0 && last) {
        (void)snprintf(stale, LOAD_STALE, "%s", err->msg);
        say(steps, "opening", options_str(o, "name"), version);
        rc = open_quietly(last, p, out, err);
    }
    atomic_store(&waited_for, NULL);
    free(last);
    registry_close(r);
    return rc;
}

int load_model(const struct options *o, bool check_labels, const struct load_steps *steps,
               struct model **out, char stale[LOAD_STALE], struct err *err)
{
    const char *model = options_str(o, "model");
    struct model_options p;
    if (stale)
        stale[0] = '\0';
    if (model_options_parse(options_str(o, "precision"), options_str(o, "head"), &p, err) != 0)
        return -1;
    if (model && options_str(o, "registry"))
        return err_set(
            err, ERR_CONFIG,
            "model and registry (RUBRIC_REGISTRY?) are both set: one of them says what to "
            "run");
    if (!model && !options_str(o, "registry"))
        return err_set(err, ERR_USAGE,
                       "no model: set model to a directory, or registry, name and alias");
    if (!model)
        return load_from_registry(o, &p, check_labels, steps, out, stale, err);
    say(steps, "opening", model, "");
    return open_quietly(model, &p, out, err);
}
