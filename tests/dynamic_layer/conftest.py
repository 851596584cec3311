import pytest
import torch
from fits import ITEMS, events_of_tastes, read, waves
from worlds import ago, catalogue, make_warehouse


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tensors this small are slower on several threads, many times so on a busy computer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tastes(tmp_path_factory):
    root = tmp_path_factory.mktemp("tastes")
    return read(make_warehouse(root, catalogue(*ITEMS, published_at=ago(300)), events_of_tastes()))


@pytest.fixture(scope="module")
def rising(tmp_path_factory):
    root = tmp_path_factory.mktemp("rising")
    return read(make_warehouse(root, catalogue(*ITEMS, published_at=ago(300)), waves()))
