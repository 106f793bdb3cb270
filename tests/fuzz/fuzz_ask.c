/* Any bytes as the body of POST /v1/classify: refused with a message, or a question within its bounds. */
#include <stdint.h>
#include <stdlib.h>

#include "worker/ask.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ask a;
    struct err err = {0};
    struct buf out;
    if (ask_parse(&a, (const char *)data, size, &err) == 0) {
        if (a.n < 1 || a.n > ASK_MAX_TITLES || a.top < 1 || !a.title == !a.titles)
            abort();
        ask_done(&a);
        return 0;
    }
    buf_init(&out, 1 << 16);
    ask_error(&out, err.msg);
    json_t *back = json_loadb(out.data, out.len, 0, NULL);
    if (!err.msg[0] || !back)
        abort();
    json_decref(back);
    buf_done(&out);
    return 0;
}
