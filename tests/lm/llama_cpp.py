"""llama.cpp's own server, from the package xllamacpp: python llama_cpp.py FILE PORT [FIELD=VALUE …]

It serves until its input is closed. Keys and values are kept in float32 and attention is plain, so
that texts can be compared with those of transformers. A FIELD is one of llama.cpp's parameters; its
value is JSON.
"""

from __future__ import annotations

import json
import sys

import xllamacpp


def main(path: str, port: str, *more: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path, params.port = path, int(port)
    params.hostnames = ["127.0.0.1"]
    params.n_ctx, params.n_parallel, params.warmup = 2048, 1, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    plain = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.flash_attn_type = plain
    for field in more:
        name, _, value = field.partition("=")
        setattr(params, name, json.loads(value))
    server = xllamacpp.Server(params)
    sys.stdin.read()
    del server


if __name__ == "__main__":
    main(*sys.argv[1:])
