"""Rewrite model.onnx for OpenCV's dnn module: logpdf alone, in single precision, with operators that OpenCV 4.6 knows.

    python for_opencv.py FOLDER OUT.onnx      # then: build/with_opencv FOLDER OUT.onnx

OpenCV has no double precision, no Gelu, no reductions with axes as inputs and no dynamic batch: initializers become
float32, casts go, Gemm becomes MatMul and Add, sums become products with ones, bounds become Relu, and every call takes
one point. What it loses is what single precision loses: seven digits of logpdf. Models with heads are refused.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def needed(model):
    """The nodes that logpdf depends on, in order."""
    wanted, kept = {"logpdf"}, []
    for node in reversed(model.graph.node):
        if wanted & set(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]


class Rewriter:
    """New nodes and constants, with the old names."""

    def __init__(self, model):
        self.constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.nodes, self.renamed = [], {}
        self.widths = {v.name: v.type.tensor_type.shape.dim[-1].dim_value for v in model.graph.value_info}

    def add(self, op, inputs, output, **attributes):
        """One node with one output."""
        self.nodes.append(helper.make_node(op, [self.renamed.get(i, i) for i in inputs], [output], **attributes))

    def product(self, left, name, matrix, output):
        """A product with a constant matrix."""
        self.constants[name] = matrix
        self.add("MatMul", [left, name], output)

    def bound(self, values, limit, output, sign):
        """The larger of values and a limit, or the smaller with sign -1: limit + sign relu(sign (values - limit))."""
        self.constants[f"{output}/sign"] = np.array(sign)
        self.add("Sub", [values, limit], f"{output}/beyond")
        self.add("Mul", [f"{output}/beyond", f"{output}/sign"], f"{output}/upwards")
        self.add("Relu", [f"{output}/upwards"], f"{output}/excess")
        self.add("Mul", [f"{output}/excess", f"{output}/sign"], f"{output}/back")
        self.add("Add", [f"{output}/back", limit], output)

    def node(self, node):
        """One node of the published graph as OpenCV knows it."""
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        inputs, output = list(node.input), node.output[0]
        if node.op_type in ("Cast", "Squeeze"):
            self.renamed[output] = self.renamed.get(inputs[0], inputs[0])
        elif node.op_type == "Gemm":
            matrix = self.constants[inputs[1]]
            matrix = matrix.T if attributes.get("transB") else matrix
            bias = len(inputs) > 2
            self.product(inputs[0], f"{output}/matrix", matrix, f"{output}/product" if bias else output)
            if bias:
                self.constants[f"{output}/bias"] = np.reshape(self.constants[inputs[2]], (1, -1))
                self.add("Add", [f"{output}/product", f"{output}/bias"], output)
        elif node.op_type in ("ReduceSum", "ReduceMean"):
            width = self.widths[inputs[0]]
            share = 1 if node.op_type == "ReduceSum" else 1 / width
            self.product(inputs[0], f"{output}/ones", np.full((width, 1), share), output)
        elif node.op_type in ("Max", "Min"):
            self.bound(*inputs, output, 1 if node.op_type == "Max" else -1)
        elif node.op_type == "Gather" and inputs[0] in self.constants:
            self.constants[output] = self.constants[inputs[0]][self.constants[inputs[1]]]
        elif node.op_type == "Gather":
            columns = self.constants[inputs[1]]
            width = len(self.constants["features/shift"])
            self.product(inputs[0], f"{output}/columns", np.eye(width)[:, columns], output)
        else:
            self.add(node.op_type, inputs, output, **attributes)


def rewrite(model):
    """The graph for OpenCV."""
    if any(len(o.type.tensor_type.shape.dim) != 1 for o in model.graph.output if o.name == "logpdf"):
        raise SystemExit("this rewrites models without heads; read this one with ONNX Runtime, or as a header")
    new = Rewriter(onnx.shape_inference.infer_shapes(model))
    for node in needed(model):
        new.node(node)
    used = {name for node in new.nodes for name in node.input}
    constants = [
        numpy_helper.from_array(np.atleast_2d(np.asarray(a, np.float32)), name)
        for name, a in new.constants.items()
        if name in used
    ]
    width = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    theta = helper.make_tensor_value_info("theta", TensorProto.FLOAT, [1, width])
    logpdf = helper.make_tensor_value_info("logpdf", TensorProto.FLOAT, [1, 1])
    graph = helper.make_graph(new.nodes, "for OpenCV", [theta], [logpdf], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)


if __name__ == "__main__":
    folder, output = map(Path, sys.argv[1:])
    onnx.save(rewrite(onnx.load(folder / "model.onnx")), output)
