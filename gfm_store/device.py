"""Where tensors live, and what makes a run repeatable."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

from gfm_store.config import Config
from gfm_store.errors import ConfigError


def choose_device(config: Config) -> torch.device:
    """The GPU where there is one and the settings allow it, else the CPU.

    Raises:
        ConfigError: the one that the settings ask for is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if config.device == "auto":
        return torch.device(next(name for name, is_there in there.items() if is_there))
    if not there[config.device]:
        raise ConfigError(f'device = "{config.device}": torch finds none here. "auto" takes what there is.')
    return torch.device(config.device)


@contextmanager
def training_device(config: Config) -> Iterator[torch.device]:
    """The device to train on, with the threads that the settings ask for, of torch and of NumPy.

    On a CPU the same seed, inputs and thread count give the same bits: torch's gathers add up their gradients
    in a fixed order inside the block. On a GPU they may differ in the last digits.
    """
    device = choose_device(config)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(device.type == "cpu")
    try:
        with threadpool_limits(config.threads, "blas"):
            yield device
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.set_num_threads(threads)
