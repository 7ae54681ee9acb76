"""What a training step reads of its variables it reads before it writes them."""

import collections
from collections.abc import Iterator

import keras
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef

# TensorFlow shows the graph that it really runs nowhere else.
from tensorflow.python.eager import context

from gan_components import randomness
from gan_components.generators import Description
from gan_components.networks.config import Dcgan
from gan_components.training import players
from gan_components.training.augment_config import Ada
from gan_components.training.config import TrainConfig
from tests.gan_components.training import toy_training


def _executed(config: TrainConfig) -> GraphDef:
    """The graph of one training step behind TensorFlow's optimizers."""
    description = Description(
        image_shape=[16, 16, 1],
        latent_dim=config.latent_dim,
        class_names=["dark", "grey", "bright"],
        class_frequencies=toy_training.FREQUENCIES,
    )
    gan = players.build(description, config, seed=0)
    batches = toy_training.batches(None, batch_size=config.batch_size, seed=0, start_step=0, num_steps=1)
    step = tf.function(gan.train_step)
    context.context().enable_graph_collection()
    try:
        step(next(iter(batches)))
        graphs = context.context().export_run_metadata().function_graphs
    finally:
        context.context().disable_graph_collection()
    return max((graph.post_optimization_graph for graph in graphs), key=lambda graph: len(graph.node))


def _races(graph: GraphDef) -> Iterator[tuple[str, str]]:
    """Pairs of a read and a write of one variable that may run in either order."""
    inputs = {node.name: [name.lstrip("^").split(":")[0] for name in node.input] for node in graph.node}
    ops = {node.name: node.op for node in graph.node}
    reads, writes = collections.defaultdict(list), collections.defaultdict(list)
    for name, op in ops.items():
        if op == "ReadVariableOp":
            reads[_variable(name, inputs, ops)].append(name)
        elif op.startswith(("AssignVariable", "AssignAddVariable", "AssignSubVariable", "ResourceApply")):
            writes[_variable(name, inputs, ops)].append(name)
    assert sum(map(len, writes.values())) > 10
    for variable, names in writes.items():
        for write in names:
            before = _before(write, inputs)
            for read in reads[variable]:
                if read not in before and write not in _before(read, inputs):
                    yield read, write


def _variable(name: str, inputs: dict[str, list[str]], ops: dict[str, str]) -> str:
    name = inputs[name][0]
    while ops[name] in ("Identity", "Switch"):
        name = inputs[name][0]
    return name


def _before(name: str, inputs: dict[str, list[str]]) -> set[str]:
    found: set[str] = set()
    rest = [name]
    while rest:
        new = set(inputs[rest.pop()]) - found
        found |= new
        rest += new
    return found


def test_reads_do_not_race_with_writes():
    """Red without ``dependency_optimization: False``: p of ADA and D's biases would be read before or after their
    update, as threads fall.
    """
    randomness.enable_determinism()
    keras.backend.clear_session()
    config = toy_training.CONFIG.model_copy(
        update={
            "augment": Ada(interval_steps=1),
            "network": Dcgan(base_channels=4, spectral_norm=True),
            "r2_gamma": 1.0,
            "penalty_interval_steps": 1,
        }
    )
    assert not list(_races(_executed(config)))
