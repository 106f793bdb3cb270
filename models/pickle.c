#include "models/pickle.h"

#include <stdlib.h>
#include <string.h>

#include "models/pickle_machine.h"

int pickle_fault(struct pickle_machine *m, const char *what)
{
    return err_set(m->err, ERR_FORMAT, "%s: pickle, byte %zu: %s", m->name, m->op, what);
}

int pickle_take(struct pickle_machine *m, size_t n, const char **out)
{
    if (n > m->len - m->at)
        return err_set(m->err, ERR_TRUNCATED, "%s: pickle, byte %zu: it ends after %zu bytes",
                       m->name, m->op, m->len);
    *out = m->data + m->at;
    m->at += n;
    return 0;
}

int pickle_take_number(struct pickle_machine *m, size_t n, uint64_t *out)
{
    const char *p = NULL;
    if (pickle_take(m, n, &p) != 0)
        return -1;
    *out = 0;
    for (size_t i = 0; i < n; i++)
        *out |= (uint64_t)(unsigned char)p[i] << (8 * i);
    return 0;
}

int pickle_push_again(struct pickle_machine *m, uint32_t node)
{
    if (m->depth == PICKLE_MAX_NODES)
        return pickle_fault(m, "too many values on the stack");
    if (m->depth == m->stack_cap) {
        m->stack_cap = m->stack_cap ? 2 * m->stack_cap : 1024;
        m->stack = xrealloc(m->stack, m->stack_cap * sizeof *m->stack);
    }
    m->stack[m->depth++] = node;
    return 0;
}

struct pickle_node *pickle_push(struct pickle_machine *m, enum pickle_kind kind)
{
    struct pickle *p = &m->p;
    if (p->n == PICKLE_MAX_NODES) {
        (void)pickle_fault(m, "too many values");
        return NULL;
    }
    if (p->n == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 4096;
        p->nodes = xrealloc(p->nodes, p->cap * sizeof *p->nodes);
    }
    p->nodes[p->n] = (struct pickle_node){.kind = kind};
    return pickle_push_again(m, p->n) == 0 ? &p->nodes[p->n++] : NULL;
}

int pickle_pop(struct pickle_machine *m, uint32_t *node)
{
    if (m->depth == 0)
        return pickle_fault(m, "the stack is empty");
    *node = m->stack[--m->depth];
    return m->p.nodes[*node].kind == PICKLE_MARK
               ? pickle_fault(m, "a mark where a value is expected")
               : 0;
}

struct pickle_node *pickle_top(struct pickle_machine *m)
{
    return m->depth ? &m->p.nodes[m->stack[m->depth - 1]] : NULL;
}

int pickle_append(struct pickle_machine *m, struct pickle_node *c, uint32_t item)
{
    if (m->n_items++ == PICKLE_MAX_NODES)
        return pickle_fault(m, "too many items");
    if (c->n == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 4;
        c->items = xrealloc(c->items, c->cap * sizeof *c->items);
    }
    c->items[c->n++] = item;
    return 0;
}

int pickle_to_mark(struct pickle_machine *m, uint32_t *from, uint32_t *n)
{
    uint32_t i = m->depth;
    while (i > 0 && m->p.nodes[m->stack[i - 1]].kind != PICKLE_MARK)
        i--;
    if (i == 0)
        return pickle_fault(m, "no mark on the stack");
    *from = i;
    *n = m->depth - i;
    m->depth = i - 1;
    return 0;
}

int pickle_memoize(struct pickle_machine *m, uint64_t at)
{
    const struct pickle_node *last = pickle_top(m);
    if (!last || last->kind == PICKLE_MARK)
        return pickle_fault(m, "no value to remember");
    if (at >= PICKLE_MAX_NODES)
        return pickle_fault(m, "a memo number out of bounds");
    if (at >= m->memo_cap) {
        uint32_t cap = m->memo_cap ? m->memo_cap : 1024;
        while (cap <= at)
            cap *= 2;
        m->memo = xrealloc(m->memo, cap * sizeof *m->memo);
        memset(m->memo + m->memo_cap, 0, (cap - m->memo_cap) * sizeof *m->memo);
        m->memo_cap = cap;
    }
    m->memo[at] = m->stack[m->depth - 1] + 1;
    return 0;
}

int pickle_recall(struct pickle_machine *m, uint64_t at)
{
    if (at >= m->memo_cap || !m->memo[at])
        return pickle_fault(m, "a memo that was never written");
    return pickle_push_again(m, m->memo[at] - 1);
}

static int run(struct pickle_machine *m)
{
    for (;;) {
        const char *c = NULL;
        m->op = m->at;
        if (pickle_take(m, 1, &c) != 0)
            return -1;
        if (*c == '.')
            return pickle_pop(m, &m->p.root);
        if (pickle_step(m, (unsigned char)*c) != 0)
            return -1;
    }
}

int pickle_parse(const char *name, const char *data, size_t len, struct pickle *out, size_t *used,
                 struct err *err)
{
    struct pickle_machine m = {.name = name, .data = data, .len = len, .err = err};
    int rc = run(&m);
    free(m.stack);
    free(m.memo);
    if (rc != 0) {
        pickle_done(&m.p);
        return -1;
    }
    *out = m.p;
    if (used)
        *used = m.at;
    return 0;
}

void pickle_done(struct pickle *p)
{
    for (uint32_t i = 0; i < p->n; i++)
        free(p->nodes[i].items);
    free(p->nodes);
    *p = (struct pickle){0};
}

const struct pickle_node *pickle_at(const struct pickle *p, uint32_t i)
{
    return &p->nodes[i];
}

const struct pickle_node *pickle_get(const struct pickle *p, const struct pickle_node *dict,
                                     const char *key)
{
    size_t len = strlen(key);
    for (uint32_t i = 0; dict->kind == PICKLE_DICT && i + 1 < dict->n; i += 2) {
        const struct pickle_node *k = &p->nodes[dict->items[i]];
        if (k->kind == PICKLE_STRING && k->len == len && memcmp(k->text, key, len) == 0)
            return &p->nodes[dict->items[i + 1]];
    }
    return NULL;
}
