#include "base/json.h"

/* What the parser allocates at most, per construct, on a 64-bit machine, rounded up (jansson 2.14;
 * a test holds the parser to it): a container with its first table, an element with its share of
 * growing tables, a member's pair. */
enum { OBJECT = 320, ARRAY = 192, ELEMENT = 160, MEMBER = 224, CHARACTER = 4, DOCUMENT = 2048 };

size_t json_cost(const char *data, size_t len)
{
    size_t cost = DOCUMENT + CHARACTER * len;
    for (size_t i = 0; i < len; i++) {
        switch (data[i]) {
        case '"': /* what stands inside a string costs its characters only */
            for (i++; i < len && data[i] != '"'; i++)
                i += data[i] == '\\';
            break;
        case '{':
            cost += OBJECT;
            break;
        case '[':
            cost += ARRAY;
            break;
        case ',':
            cost += ELEMENT;
            break;
        case ':':
            cost += MEMBER;
            break;
        default:
            break;
        }
    }
    return cost;
}
