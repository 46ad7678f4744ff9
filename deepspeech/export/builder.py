"""Building of ONNX graphs: nodes, constants, and arithmetic with dynamic sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deepspeech.errors import InputError

if TYPE_CHECKING:
    import onnx

try:
    import onnx.helper
    import onnx.numpy_helper
except ImportError:
    raise InputError(
        "onnx is not installed, and writes ONNX files; pip install 'deepspeech-torch[onnx]'"
    ) from None

OPSET, IR_VERSION = 17, 8
LAST = 2**62  # beyond the end of any axis

Value = str | np.ndarray | np.generic | int | Sequence[int]  # the name of a tensor, or a constant
Shape = Sequence[str | int]  # a name stands for a dynamic axis


class GraphBuilder:
    """Collects the nodes of a graph. A tensor goes by its name; plain numbers become int64 constants."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, dtype: type, shape: Shape, default: Value | None = None) -> str:
        """An input of the graph; with a default it may be left out."""
        self.inputs.append(_info(name, dtype, shape))
        if default is not None:
            self.constants[name] = onnx.numpy_helper.from_array(np.asarray(default, dtype), name)
        return name

    def output(self, name: str, value: str, dtype: type, shape: Shape) -> None:
        """Name an output of the graph."""
        self.nodes.append(onnx.helper.make_node("Identity", [value], [name]))
        self.outputs.append(_info(name, dtype, shape))

    def op(self, kind: str, *inputs: Value, **attributes: Any) -> str:
        """Add a node; returns its only output."""
        return self.ops(kind, *inputs, count=1, **attributes)[0]

    def ops(self, kind: str, *inputs: Value, count: int, **attributes: Any) -> list[str]:
        """Add a node with several outputs."""
        names = [f"{kind}_{len(self.nodes)}_{index}" for index in range(count)]
        node = onnx.helper.make_node(kind, [self.value(each) for each in inputs], names, **attributes)
        self.nodes.append(node)
        return names

    def value(self, value: Value) -> str:
        """The name of a tensor. Equal small constants are stored once."""
        if isinstance(value, str):
            return value
        array = np.asarray(value, None if isinstance(value, np.ndarray | np.generic) else np.int64)
        key = f"{array.dtype}_{'x'.join(map(str, array.shape))}_"
        name = key + ("_".join(map(str, array.flat)) if array.size < 9 else str(len(self.constants)))
        if name not in self.constants:
            self.constants[name] = onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def size(self, value: str, axis: int) -> str:
        """The size of an axis, int64 (1,)."""
        return self.op("Gather", self.op("Shape", value), [axis])

    def cast(self, value: str, dtype: type) -> str:
        return self.op("Cast", value, to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def pad_end(self, value: str, amount: str, rank: int, axis: int = -1) -> str:
        """Append `amount` (1,) zeros along an axis."""
        end = axis % rank
        parts: list[Value] = [
            [0] * (rank + end),
            amount,
            *([[0] * (rank - end - 1)] if end < rank - 1 else []),
        ]
        return self.op("Pad", value, self.op("Concat", *parts, axis=0))

    def model(self, name: str, producer_version: str, metadata: dict[str, str]) -> onnx.ModelProto:
        """The finished model."""
        graph = onnx.helper.make_graph(
            self.nodes, name, self.inputs, self.outputs, list(self.constants.values())
        )
        opset = onnx.helper.make_opsetid("", OPSET)
        model = onnx.helper.make_model(
            graph,
            opset_imports=[opset],
            ir_version=IR_VERSION,
            producer_name="deepspeech-torch",
            producer_version=producer_version,
        )
        onnx.helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        return model


def _info(name: str, dtype: type, shape: Shape) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(
        name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape)
    )
