#include "data/tokenizer/spm_shim.h"

extern "C" {
#include "base/mem.h"
}

#include <sentencepiece_processor.h>

#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

struct spm_model {
    sentencepiece::SentencePieceProcessor processor;
    std::string piece; // what a pointer handed out points into
};

namespace {

// Runs `f`, which returns a Status; on an error or an exception writes the reason.
template <typename F> bool guarded(char *why, size_t why_size, F f) {
    try {
        const sentencepiece::util::Status status = f();
        if (status.ok()) return true;
        std::snprintf(why, why_size, "%s", status.ToString().c_str());
    } catch (const std::exception &e) { std::snprintf(why, why_size, "%s", e.what()); }
    return false;
}

} // namespace

spm_model_t *spm_model_open(const void *proto, size_t len, char *why, size_t why_size) {
    std::set_new_handler([] { mem_checked(nullptr, 0); }); // an exception would pass through C
    spm_model_t *m = new spm_model;
    const bool good = guarded(why, why_size, [&] {
        return m->processor.LoadFromSerializedProto(absl::string_view(static_cast<const char *>(proto), len));
    });
    if (good) return m;
    delete m;
    return nullptr;
}

// Of two parts of a serialized message the later settings win: normalizer_spec (field 3) { add_dummy_prefix (3): 0 }.
spm_model_t *spm_model_unspaced(spm_model_t *m, char *why, size_t why_size) {
    const std::string proto = m->processor.serialized_model_proto() + std::string("\x1a\x02\x18\x00", 4);
    return spm_model_open(proto.data(), proto.size(), why, why_size);
}

void spm_model_close(spm_model_t *m) { delete m; }

size_t spm_model_size(const spm_model_t *m) { return static_cast<size_t>(m->processor.GetPieceSize()); }

const char *spm_model_piece(spm_model_t *m, int32_t id, size_t *len, float *score, spm_type_t *type) {
    const auto &p = m->processor;
    m->piece = p.IdToPiece(id);
    *len = m->piece.size();
    *score = p.GetScore(id);
    *type = p.IsUnknown(id)   ? SPM_UNKNOWN
            : p.IsControl(id) ? SPM_CONTROL
            : p.IsByte(id)    ? SPM_BYTE
            : p.IsUnused(id)  ? SPM_UNUSED
                              : SPM_NORMAL;
    return m->piece.c_str();
}

int32_t spm_model_bos(const spm_model_t *m) { return m->processor.bos_id(); }

int32_t spm_model_eos(const spm_model_t *m) { return m->processor.eos_id(); }

bool spm_model_encode(const spm_model_t *m, const char *text, size_t len, spm_add_fn *add, void *ctx, char *why,
                      size_t why_size) {
    sentencepiece::ImmutableSentencePieceText pieces;
    const bool good = guarded(
        why, why_size, [&] { return m->processor.Encode(absl::string_view(text, len), pieces.mutable_proto()); });
    if (good) {
        for (size_t i = 0; i < pieces.pieces_size(); i++) {
            const auto piece = pieces.pieces(static_cast<int>(i));
            add(ctx, static_cast<int32_t>(piece.id()), piece.begin());
        }
    }
    return good;
}
