"""llama.cpp's C API, as far as the checks of exports need it: logits, adapters, tokens, greedy text.

The declarations of llama-cpp-py-sync over the library of xllamacpp, of the same release: the first one's own library
needs a newer glibc, and the second one's Python interface gives no logits."""

import importlib.util
import pathlib

import numpy as np
from llama_cpp_py_sync._cffi_bindings import get_ffi

ffi = get_ffi()
lib = ffi.dlopen(str(pathlib.Path(importlib.util.find_spec("xllamacpp").origin).with_name("xllamacpp.abi3.so")))


@ffi.callback("void(enum ggml_log_level, const char *, void *)")
def keep_errors(level, text, _):
    if level >= 4:    # GGML_LOG_LEVEL_ERROR
        errors.append(ffi.string(text).decode(errors="replace").strip())


errors = []
lib.llama_log_set(keep_errors, ffi.NULL)
lib.llama_backend_init()


class Model:
    def __init__(self, path, lora=None, n_ctx=256):
        errors.clear()
        params = lib.llama_model_default_params()
        params.use_extra_bufts = False    # weights as they are in the file
        self.model = lib.llama_model_load_from_file(str(path).encode(), params)
        if self.model == ffi.NULL:
            raise RuntimeError("llama.cpp does not load it: " + "; ".join(errors))
        self.vocab = lib.llama_model_get_vocab(self.model)
        self.n_vocab = lib.llama_vocab_n_tokens(self.vocab)
        self.lora = ffi.NULL
        if lora:
            self.lora = lib.llama_adapter_lora_init(self.model, str(lora).encode())
            if self.lora == ffi.NULL:
                raise RuntimeError("llama.cpp does not load the adapter: " + "; ".join(errors))
        self.n_ctx = n_ctx

    def context(self):
        params = lib.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = self.n_ctx
        params.n_threads = params.n_threads_batch = 2
        params.type_k = params.type_v = 0    # F32
        params.flash_attn_type = 0           # off
        context = lib.llama_init_from_model(self.model, params)
        if self.lora != ffi.NULL:
            lib.llama_set_adapters_lora(context, ffi.new("struct llama_adapter_lora *[1]", [self.lora]), 1,
                                        ffi.new("float[1]", [1.0]))
        return context

    @staticmethod
    def decode(context, ids, first=0):
        batch = lib.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, first + i, 1, 1
            batch.seq_id[i][0] = 0
        status = lib.llama_decode(context, batch)
        lib.llama_batch_free(batch)
        if status != 0:
            raise RuntimeError(f"llama_decode: {status}")

    def logits(self, rows, width=None):
        """[rows, tokens, vocabulary]; width: of a file without a vocabulary."""
        width, result = width or self.n_vocab, []
        for ids in rows:
            context = self.context()
            self.decode(context, ids)
            result.append([np.frombuffer(ffi.buffer(lib.llama_get_logits_ith(context, i), 4 * width), np.float32).copy()
                           for i in range(len(ids))])
            lib.llama_free(context)
        return np.array(result)

    def tokenize(self, text, specials=True):
        data, out = text.encode(), ffi.new("llama_token[]", len(text) * 4 + 16)
        n = lib.llama_tokenize(self.vocab, data, len(data), out, len(text) * 4 + 16, False, specials)
        return list(out[0:n])

    def greedy(self, ids, count):
        """The text that follows, up to an end of generation."""
        context, text, first = self.context(), b"", 0
        for _ in range(count):
            self.decode(context, ids, first)
            scores = np.frombuffer(ffi.buffer(lib.llama_get_logits_ith(context, len(ids) - 1), 4 * self.n_vocab),
                                   np.float32)
            first, token = first + len(ids), int(scores.argmax())
            if lib.llama_vocab_is_eog(self.vocab, token):
                break
            piece = ffi.new("char[256]")
            text += ffi.buffer(piece, lib.llama_token_to_piece(self.vocab, token, piece, 256, 0, False))[:]
            ids = [token]
        lib.llama_free(context)
        return text.decode(errors="replace")
