import torch

from comdefend.common.store import Store


def test_a_result_is_computed_once_for_everything_it_depends_on(tmp_path):
    computed = []

    def compute():
        computed.append(1)
        return {"accuracy": 0.5}

    store = Store(tmp_path, {"device": "cpu"})
    for _ in range(2):
        assert store.result({"attack": "pgd"}, compute) == {"accuracy": 0.5}
    assert len(computed) == 1
    store.result({"attack": "bim"}, compute)
    Store(tmp_path, {"device": "cuda"}).result({"attack": "pgd"}, compute)
    assert len(computed) == 3


def test_a_result_is_found_once_it_is_kept(tmp_path):
    store = Store(tmp_path, {})
    assert store.found({"image": 1}) is None
    store.keep({"image": 1}, {"radius": 0.5})
    assert store.found({"image": 1}) == {"radius": 0.5}
    assert store.result({"image": 1}, dict) == {"radius": 0.5}
    assert store.found({"image": 2}) is None


def test_a_damaged_result_is_computed_again(tmp_path):
    store = Store(tmp_path, {})
    store.result({}, lambda: {"a": 1})
    store.tensor({}, lambda: torch.arange(6).view(2, 3).T)
    for path in tmp_path.iterdir():
        path.write_bytes(b"half of a fi")
    assert store.result({}, lambda: {"a": 2}) == {"a": 2}
    wanted = torch.arange(6).view(2, 3).T
    assert torch.equal(store.tensor({}, lambda: wanted), wanted)
    assert torch.equal(store.tensor({}, lambda: torch.zeros(1)), wanted)
