#include "trainer/retrain.h"

#include <stdio.h>
#include <string.h>

#define SPARE 1e-9

static const struct {
    const char *word;
    int status;
} outcomes[RETRAIN_OUTCOMES] = {
    [RETRAIN_PROMOTED] = {"promoted", 0},    [RETRAIN_SAME] = {"same-content", 3},
    [RETRAIN_WORSE] = {"worse", 3},          [RETRAIN_BELOW] = {"below-minimum", 3},
    [RETRAIN_SUSPECT] = {"suspect-data", 3}, [RETRAIN_LOCKED] = {"locked", 4},
    [RETRAIN_OVERTAKEN] = {"overtaken", 4},  [RETRAIN_LABELS] = {"other-labels", 5},
};

const char *retrain_word(enum retrain_outcome outcome)
{
    return outcomes[outcome].word;
}

int retrain_status(enum retrain_outcome outcome)
{
    return outcomes[outcome].status;
}

static double accuracy(const struct retrain *r, const struct retrain_side *side)
{
    return (double)side->right / (double)r->titles;
}

void retrain_decide(struct retrain *r)
{
    double new = accuracy(r, &r->challenger), old = accuracy(r, &r->champion);
    bool champion = r->champion.version[0] != '\0';
    char numbers[120];
    (void)snprintf(numbers, sizeof numbers, "dev accuracy %.2f %%, production has %.2f %%",
                   100 * new, 100 * old);
    if (champion && strcmp(r->champion.version, r->challenger.version) == 0) {
        r->outcome = RETRAIN_SAME;
        (void)snprintf(r->why, sizeof r->why, "production is this very content already");
    } else if (champion && r->champion.made >= 0 && old < r->champion.made - r->max_shift - SPARE) {
        r->outcome = RETRAIN_SUSPECT;
        (void)snprintf(
            r->why, sizeof r->why,
            "suspect labels: production has dev accuracy %.2f %%, and had %.2f %% when it "
            "was made; at most %.2f points less are allowed",
            100 * old, 100 * r->champion.made, 100 * r->max_shift);
    } else if (new < r->min_accuracy - SPARE) {
        r->outcome = RETRAIN_BELOW;
        (void)snprintf(r->why, sizeof r->why,
                       "dev accuracy %.2f %% is below the least allowed, %.2f %%", 100 * new,
                       100 * r->min_accuracy);
    } else if (!champion) {
        r->outcome = RETRAIN_PROMOTED;
        (void)snprintf(r->why, sizeof r->why,
                       "dev accuracy %.2f %%; there was no model in production", 100 * new);
    } else if (new < old - r->max_drop - SPARE) {
        r->outcome = RETRAIN_WORSE;
        (void)snprintf(r->why, sizeof r->why, "worse: %s; at most %.2f points less are allowed",
                       numbers, 100 * r->max_drop);
    } else {
        r->outcome = RETRAIN_PROMOTED;
        (void)snprintf(r->why, sizeof r->why, "not worse: %s%s", numbers,
                       r->champion.made < 0 ? "; how good it was when it was made is not known, so "
                                              "the labels were not judged"
                                            : "");
    }
}

static void side_text(const struct retrain *r, const char *name, const struct retrain_side *side,
                      struct buf *out)
{
    if (!side->measured)
        return;
    buf_printf(out, "%-12s %s  dev accuracy %.2f %% (%lld of %lld)  loss %.4f\n", name,
               side->version, 100 * accuracy(r, side), (long long)side->right, (long long)r->titles,
               side->loss);
}

void retrain_text(const struct retrain *r, const char *name, const char *alias, struct buf *out)
{
    side_text(r, "champion", &r->champion, out);
    side_text(r, "challenger", &r->challenger, out);
    if (r->outcome == RETRAIN_PROMOTED)
        buf_printf(out, "promoted: %s of %s is now %s: %s\n", alias, name, r->challenger.version,
                   r->why);
    else
        buf_printf(out, "nothing promoted (%s): %s\n", retrain_word(r->outcome), r->why);
}

static void side_json(const struct retrain *r, const char *name, const struct retrain_side *side,
                      struct buf *out)
{
    if (!side->version[0] && !side->measured) {
        buf_printf(out, "\"%s\":null,", name);
        return;
    }
    buf_printf(out, "\"%s\":{\"version\":\"%s\"", name, side->version);
    if (side->measured)
        buf_printf(out, ",\"accuracy\":%.9g,\"right\":%lld,\"loss\":%.9g", accuracy(r, side),
                   (long long)side->right, side->loss);
    buf_puts(out, "},");
}

void retrain_json(const struct retrain *r, const char *name, const char *alias, struct buf *out)
{
    buf_printf(out, "{\"outcome\":\"%s\",\"promoted\":%s,\"name\":\"%s\",\"alias\":\"%s\",",
               retrain_word(r->outcome), r->outcome == RETRAIN_PROMOTED ? "true" : "false", name,
               alias);
    side_json(r, "champion", &r->champion, out);
    side_json(r, "challenger", &r->challenger, out);
    buf_printf(out, "\"titles\":%lld,\"token\":%lld,\"why\":\"", (long long)r->titles, r->token);
    buf_put_json(out, r->why, strlen(r->why));
    buf_puts(out, "\"}\n");
}
