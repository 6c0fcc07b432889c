"""GGUF files for tests and checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write_gguf(transformer: Any, path: Path) -> int:
    """Write the weights of an LTX transformer, its matrices in 8 bits; return the bytes of those."""
    import gguf

    writer, saved = gguf.GGUFWriter(str(path), "ltxv"), 0
    for name, tensor in transformer.state_dict().items():
        array = tensor.float().numpy()
        if name.endswith(".weight") and array.ndim == 2 and array.shape[1] % 32 == 0:
            array = gguf.quants.quantize(array, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, array, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
            saved += array.nbytes
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return saved
