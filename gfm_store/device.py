"""Where tensors live, and the one seed."""

import torch

from gfm_store.config import Config


def choose_device(config: Config) -> torch.device:
    """The GPU where there is one and the settings allow it, else the CPU."""
    if config.device != "auto":
        return torch.device(config.device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def set_threads(config: Config) -> None:
    """Give torch as many CPU threads as the settings say."""
    if config.threads:
        torch.set_num_threads(config.threads)
