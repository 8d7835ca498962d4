"""One safetensors file with every element type, written by the reference writer: layout.safetensors.

    gen_safetensors.py OUT_FILE

The tensors "a_TYPE" [3, 2] and "z_TYPE" [1] hold the bytes 0, 1, 2, ... (mod 256, bool: mod 2); there are also a
scalar, an empty tensor and a name that JSON must escape."""
import sys

import torch
from safetensors.torch import save_file

TYPES = ['float32', 'float16', 'bfloat16', 'float64', 'uint8', 'int8', 'int16', 'int32', 'int64', 'bool']


def counted(dtype, shape):
    n = int(torch.empty(shape).numel()) * torch.empty(0, dtype=dtype).element_size()
    raw = torch.arange(n) % (2 if dtype == torch.bool else 256)
    return raw.to(torch.uint8).view(dtype).reshape(shape)


tensors = {'scalar': counted(torch.float32, ()), 'empty': torch.zeros(0, 4),
           'quote"slash\\é\n': counted(torch.float32, (2,))}
for t in TYPES:
    tensors[f'z_{t}'] = counted(getattr(torch, t), (1,))
    tensors[f'a_{t}'] = counted(getattr(torch, t), (3, 2))
save_file(tensors, sys.argv[1], metadata={'format': 'pt'})
