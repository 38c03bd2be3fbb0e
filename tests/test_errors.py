import numpy as np
import pytest
import torch

from comdefend.errors import ImageError, out_of_memory


def test_too_little_memory_is_known_by_what_torch_says():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 50)
    assert out_of_memory(caught.value)
    assert out_of_memory(MemoryError())


def test_too_little_memory_is_known_by_what_onnx_runtime_says():
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [helper.make_node("Expand", ["x", "shape"], ["y"])], "graph",
        [
            helper.make_tensor_value_info("x", kind.FLOAT, [1]),
            helper.make_tensor_value_info("shape", kind.INT64, [1]),
        ],
        [helper.make_tensor_value_info("y", kind.FLOAT, [None])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = runtime.InferenceSession(model.SerializeToString())
    feed = {"x": np.zeros(1, np.float32), "shape": np.array([1 << 45])}
    with pytest.raises(Exception, match="allocate") as caught:
        session.run(None, feed)
    assert out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error", [RuntimeError("a fault"), ValueError("1"), ImageError("bad_alloc")]
)
def test_other_faults_are_not_taken_for_it(error):
    assert not out_of_memory(error)
