"""Floating-point operations of a TensorFlow graph: those of its matrix products and convolutions."""

import math
from collections.abc import Iterable

import tensorflow as tf

_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")


def mflop(function: tf.types.experimental.ConcreteFunction, *, lazy_share: float = 1.0) -> float:
    """10^6 floating-point operations of one call, an addition and a multiplication counting as two.

    Counted are matrix products and convolutions with their gradients, by their static shapes, as far as a result
    or a side effect needs them. Of a conditional, the larger branch counts with `lazy_share`.

    Raises:
        ValueError: a shape is not static.
    """
    graph = function.graph
    wanted = [tensor.op for tensor in graph.outputs] + list(graph.control_outputs)
    return 1e-6 * _flop(graph, wanted, lazy_share)


def _flop(graph: tf.Graph, wanted: Iterable[tf.Operation], lazy_share: float) -> float:
    total, seen, todo = 0.0, set(), list(wanted)
    while todo:
        operation = todo.pop()
        if operation.name in seen:
            continue
        seen.add(operation.name)
        todo += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
        branches = _called(graph, operation)
        if branches:
            share = lazy_share if operation.type in ("If", "StatelessIf") else 1.0
            total += share * max(_flop(inner, [t.op for t in inner.outputs], lazy_share) for inner in branches)
        else:
            total += _of_operation(operation)
    return total


def _called(graph: tf.Graph, operation: tf.Operation) -> list[tf.Graph]:
    """The graphs of the functions that an operation calls: both branches of a conditional, or one body."""
    if operation.type in ("If", "StatelessIf"):
        names = [operation.get_attr(branch).name for branch in ("then_branch", "else_branch")]
    elif operation.type in ("PartitionedCall", "StatefulPartitionedCall"):
        names = [operation.get_attr("f").name]
    else:
        return []
    return [graph._get_function(name).graph for name in names]


def _of_operation(operation: tf.Operation) -> float:
    kind = operation.type
    if kind in ("MatMul", "BatchMatMulV2"):
        first, transposed = operation.inputs[0], "transpose_a" if kind == "MatMul" else "adj_x"
        shape = _static(first)
        shared = shape[-2] if operation.get_attr(transposed) else shape[-1]
        return 2.0 * math.prod(_static(operation.outputs[0])) * shared
    for convolution in _CONVOLUTIONS:
        # Of every kind, the small image and the kernel decide: each pixel of the former meets each tap.
        if kind == convolution:
            return _of_convolution(operation.outputs[0], _static(operation.inputs[1]), kind)
        if kind == f"{convolution}BackpropInput":
            return _of_convolution(operation.inputs[2], _static(operation.inputs[1]), kind)
        if kind == f"{convolution}BackpropFilter":
            return _of_convolution(operation.inputs[2], _static(operation.outputs[0]), kind)
    return 0.0


def _of_convolution(small_image: tf.Tensor, kernel: list[int], kind: str) -> float:
    *positions, channels = _static(small_image)
    height, width, inputs, _ = kernel
    return 2.0 * math.prod(positions) * height * width * channels * (1 if kind.startswith("Depthwise") else inputs)


def _static(tensor: tf.Tensor) -> list[int]:
    if not tensor.shape.is_fully_defined():
        raise ValueError(f"{tensor.name} has the shape {tensor.shape}; arithmetic is counted of static shapes")
    return tensor.shape.as_list()
