"""The engines ``torch`` and ``torch-compiled``."""

import shutil
import threading
from collections.abc import Callable

import torch
from torch import Tensor

from comdefend.engines.engine import Computation, Network
from comdefend.errors import InputError

_turn = threading.Lock()


def open_eager(computation: Computation) -> Network:
    """Open a network in PyTorch as it is."""
    return _in_precision(computation, computation.network.to(memory_format=torch.channels_last))


def open_compiled(computation: Computation) -> Network:
    """Open a network that PyTorch compiles when it is first called.

    Raises:
        InputError: There is no C++ compiler, which a processor needs.
    """
    network = computation.network.to(memory_format=torch.channels_last)
    if computation.example.device.type == "cuda":
        # One CUDA graph per shape: launching kernels takes longer than small ones run.
        return _in_precision(computation, torch.compile(network, mode="reduce-overhead"))
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise InputError("engine 'torch-compiled' needs a C++ compiler, such as g++; take torch")
    return _in_precision(computation, torch.compile(network, dynamic=True))


def _in_precision(computation: Computation, network: Callable[[Tensor], Tensor]) -> Network:
    device, low = computation.example.device.type, computation.precision == "bfloat16"

    def compute(values: Tensor) -> Tensor:
        # The number of threads, and the output of a CUDA graph, are the process's own: one call
        # at a time. Each keeps all cores busy anyway.
        with _turn:
            before = torch.get_num_threads()
            torch.set_num_threads(computation.threads)
            try:
                with torch.autocast(device, torch.bfloat16, enabled=low):
                    output = network(values.contiguous(memory_format=torch.channels_last))
            finally:
                torch.set_num_threads(before)
            # The next run of a CUDA graph overwrites its output.
            return output.float() if low else output.clone()

    return compute
