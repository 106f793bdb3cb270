/* The demo's registry: a copy of the shipped one in a temporary directory, with a second version of
 * its model beside the first, for a promotion while headlines flow.  The second holds the same
 * network and a note about it: what changes hands is the version, not the answers. */
#ifndef WORKER_DEMO_REGISTRY_H
#define WORKER_DEMO_REGISTRY_H

#include "base/err.h"
#include "models/registry.h"

struct demo_registry {
    char *dir, *url;
    char first[REGISTRY_VERSION], second[REGISTRY_VERSION];
};

/* shipped: the directory of the shipped registry, whose model "headlines" has the alias production. */
int demo_registry_open(const char *shipped, struct demo_registry *r, struct err *err);
int demo_registry_promote(const struct demo_registry *r, struct err *err); /* the second */
void demo_registry_close(struct demo_registry *r); /* removes it; safe on a zeroed one */

#endif
