#include "trainer/tensorboard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"

struct tensorboard {
    char *path;
    FILE *out;
};

uint32_t crc32c(const void *data, size_t n)
{
    const unsigned char *p = data;
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    }
    return ~crc;
}

/* A checksum of data that holds checksums is masked (TFRecord's rule). */
static uint32_t masked(const void *data, size_t n)
{
    uint32_t crc = crc32c(data, n);
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

static void put_fixed(struct buf *b, uint64_t x, int bytes)
{
    for (int i = 0; i < bytes; i++, x >>= 8)
        buf_put(b, &(char){(char)(x & 0xFF)}, 1);
}

static void put_varint(struct buf *b, uint64_t x)
{
    for (; x >= 0x80; x >>= 7)
        buf_put(b, &(char){(char)((x & 0x7F) | 0x80)}, 1);
    buf_put(b, &(char){(char)x}, 1);
}

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };
static void put_key(struct buf *b, int field, int type)
{
    put_varint(b, (uint64_t)(field << 3 | type));
}

static void put_bytes(struct buf *b, int field, const void *data, size_t n)
{
    put_key(b, field, BYTES);
    put_varint(b, n);
    buf_put(b, data, n);
}

static int put_record(struct tensorboard *t, const struct buf *event, struct err *err)
{
    struct buf r;
    buf_init(&r, event->len + 64);
    put_fixed(&r, event->len, 8);
    put_fixed(&r, masked(r.data, 8), 4);
    buf_put(&r, event->data, event->len);
    put_fixed(&r, masked(event->data, event->len), 4);
    bool good = fwrite(r.data, 1, r.len, t->out) == r.len && fflush(t->out) == 0;
    buf_done(&r);
    return good ? 0 : err_set(err, ERR_IO, "%s: %s", t->path, strerror(errno));
}

/* Event: wall_time = 1 (double), step = 2 (int64). */
static void begin_event(struct buf *b, int64_t step)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    double seconds = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    uint64_t bits;
    memcpy(&bits, &seconds, sizeof bits);
    buf_init(b, 4096);
    put_key(b, 1, FIXED64);
    put_fixed(b, bits, 8);
    put_key(b, 2, VARINT);
    put_varint(b, (uint64_t)step);
}

int tensorboard_open(const char *dir, struct tensorboard **out, struct err *err)
{
    static const char version[] = "brain.Event:2";
    if (file_mkdirs(dir, err) != 0)
        return -1;
    struct tensorboard *t = xcalloc(1, sizeof *t);
    t->path = file_path("%s/events.out.tfevents.%lld.rubric.%ld", dir, (long long)time(NULL),
                        (long)getpid());
    t->out = fopen(t->path, "wbe");
    int rc = t->out ? 0 : err_set(err, ERR_IO, "%s: %s", t->path, strerror(errno));
    if (rc == 0) {
        struct buf event;
        begin_event(&event, 0);
        put_bytes(&event, 3, version, sizeof version - 1); /* file_version */
        rc = put_record(t, &event, err);
        buf_done(&event);
    }
    if (rc != 0) {
        tensorboard_close(t);
        return -1;
    }
    *out = t;
    return 0;
}

void tensorboard_close(struct tensorboard *t)
{
    if (!t)
        return;
    if (t->out)
        (void)fclose(t->out);
    free(t->path);
    free(t);
}

int tensorboard_scalar(struct tensorboard *t, const char *tag, int64_t step, double value,
                       struct err *err)
{
    struct buf event, summary, v;
    float narrow = (float)value;
    uint32_t bits;
    memcpy(&bits, &narrow, sizeof bits);
    buf_init(&v, 4096);
    put_bytes(&v, 1, tag, strlen(tag)); /* Summary.Value: tag = 1, simple_value = 2 */
    put_key(&v, 2, FIXED32);
    put_fixed(&v, bits, 4);
    buf_init(&summary, 4096);
    put_bytes(&summary, 1, v.data, v.len); /* Summary: value = 1 */
    begin_event(&event, step);
    put_bytes(&event, 5, summary.data, summary.len); /* Event: summary = 5 */
    int rc = put_record(t, &event, err);
    buf_done(&v);
    buf_done(&summary);
    buf_done(&event);
    return rc;
}
