extern "C" {
#include "base/err.h"
}
#include "data/sentencepiece.h"

#include <exception>
#include <string>
#include <vector>

#include <sentencepiece_processor.h>

struct sentencepiece_model {
    sentencepiece::SentencePieceProcessor processor;
};

int sentencepiece_open(const char *path, struct sentencepiece_model **out, struct err *err)
{
    struct sentencepiece_model *sp = nullptr;
    try {
        sp = new struct sentencepiece_model;
        const auto status = sp->processor.Load(path);
        if (!status.ok()) {
            err_set(err, ERR_FORMAT, "%s: no SentencePiece model: %.300s", path,
                    status.ToString().c_str());
            delete sp;
            return -1;
        }
    } catch (const std::exception &e) {
        delete sp;
        return err_set(err, ERR_FORMAT, "%s: no SentencePiece model: %.300s", path, e.what());
    }
    *out = sp;
    return 0;
}

void sentencepiece_close(struct sentencepiece_model *sp)
{
    delete sp;
}

int32_t sentencepiece_size(const struct sentencepiece_model *sp)
{
    return sp->processor.GetPieceSize();
}

int32_t sentencepiece_unknown(const struct sentencepiece_model *sp)
{
    return sp->processor.unk_id();
}

int32_t sentencepiece_id(const struct sentencepiece_model *sp, const char *piece, size_t n)
{
    try {
        const std::string text(piece, n);
        const int id = sp->processor.PieceToId(text);
        return sp->processor.IdToPiece(id) == text ? id : -1;
    } catch (const std::exception &) {
        return -1;
    }
}

void sentencepiece_encode(const struct sentencepiece_model *sp, const char *text, size_t n,
                          sentencepiece_put *put, void *arg)
{
    try {
        std::vector<std::string> pieces;
        if (!sp->processor.Encode(std::string(text, n), &pieces).ok())
            return;
        for (const auto &piece : pieces)
            if (!put(arg, sp->processor.PieceToId(piece), piece.data(), piece.size()))
                return;
    } catch (const std::exception &) {
        // Out of memory is all that is left: what was put stands.
    }
}
